"""What Envoy answers by itself, as errors in OpenAI's shape with the codes of the other doors.

To Envoy the gateway's own answers are local replies as well. They come without response code
details, which each of Envoy's has, and that is how they are told apart here. No text of Envoy's
reaches a client: it names addresses and what became of connections.
"""

from collections.abc import Mapping
from typing import Any

from routewright.gateway.bodies.failures import HttpAnswer, error_answer

_TYPES = "type.googleapis.com/envoy.extensions.access_loggers.filters"
_NO_MODEL = error_answer(503, "no model was chosen for this request", code="gateway_error")
_NO_GATEWAY = error_answer(
    500, "the gateway could not process this request", code="gateway_error"
)
_BY_STATUS = (
    error_answer(
        408, "the request did not arrive in time; send it again", code="request_timeout"
    ),
    error_answer(413, "the request body is larger than allowed", code="request_too_large"),
    error_answer(
        431, "the request's headers are larger than allowed", code="headers_too_large"
    ),
    _NO_GATEWAY,
    error_answer(
        502, "the model cannot be reached, or broke off its answer; try again", code="upstream"
    ),
    error_answer(
        503, "the model cannot be reached, or broke off its answer; try again", code="upstream"
    ),
    error_answer(504, "the model did not answer in time; try again later", code="timeout"),
)
"""Other statuses keep Envoy's text, and so does whatever a later Envoy says of our blocks."""


def local_reply_config() -> dict[str, Any]:
    """``local_reply_config`` of the connection manager; the first mapper that fits counts.

    Statuses stay as Envoy gives them; bodies of the gateway's own answers, as they came.
    """
    return {
        "mappers": [
            _mapper("response.code_details == 'direct_response'", _NO_MODEL),
            # Whether it is away (500) or silent (504): no model has been asked.
            _mapper("response.code_details.startsWith('ext_proc_error')", _NO_GATEWAY),
            *(_mapper(_own(answer.status), answer) for answer in _BY_STATUS),
        ],
        # The type is that of bodies which a mapper put in, or which came without one.
        "body_format": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
            "content_type": "application/json",
        },
    }


def _own(status: int) -> str:
    return f"response.code == {status} && response.code_details != ''"


def _mapper(expression: str, answer: HttpAnswer) -> Mapping[str, Any]:
    """The body of `answer` wherever `expression`, in CEL, holds."""
    return {
        "filter": {
            "extension_filter": {
                "name": "envoy.access_loggers.extension_filters.cel",
                "typed_config": {
                    "@type": f"{_TYPES}.cel.v3.ExpressionFilter",
                    "expression": expression,
                },
            }
        },
        "body": {"inline_string": answer.body.decode()},
    }
