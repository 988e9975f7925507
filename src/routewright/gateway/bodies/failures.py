"""Errors in OpenAI's shape, with the status of each.

Source of the shape: https://platform.openai.com/docs/guides/error-codes
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from routewright.errors import OverloadedError, RequestError, RoutewrightError, ServingError
from routewright.gateway.json_bytes import dump_json

STATUS: Mapping[str, int] = {
    "request": 400,
    "unknown_model": 404,
    "overloaded": 429,
    "serving": 503,
    "closed": 503,
    "deadline": 504,
    "upstream": 502,
    "timeout": 504,
}
"""By error code; errors that are not here are the operator's, and 500."""

_TYPES: Mapping[int, str] = {401: "authentication_error", 429: "rate_limit_error"}
_OPENAI_CODES: Mapping[str, str | None] = {"request": None, "unknown_model": "model_not_found"}
"""What clients test for, by our own code: OpenAI has none for a malformed request."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a door answers by itself, without an upstream."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def failure(exc: RoutewrightError) -> HttpAnswer:
    """The answer to a request that failed.

    Errors of the operator's making (a bundle, a configuration) are not explained to clients:
    their messages name paths. They belong into the log.
    """
    status = STATUS.get(exc.code, 500)
    told = isinstance(exc, RequestError | ServingError)
    message = str(exc) if told else "the gateway cannot serve this request; see its log"
    param = exc.param if isinstance(exc, RequestError) else None
    headers = {}
    if isinstance(exc, OverloadedError):
        headers["retry-after"] = str(max(1, math.ceil(exc.retry_after_s)))
    return error_answer(status, message, code=exc.code, param=param, headers=headers)


def error_answer(
    status: int,
    message: str,
    *,
    code: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpAnswer:
    """``{"error": {"message", "type", "param", "code"}}`` with its status.

    Args:
        status: of the answer; it decides the type.
        message: what is wrong and what to do; no text of the request.
        code: ours; where OpenAI has another one, clients get that.
        param: path of the wrong value.
        headers: of the answer.
    """
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error: dict[str, Any] = {
        "message": message,
        "type": kind,
        "param": param,
        "code": _OPENAI_CODES.get(code, code),
    }
    return HttpAnswer(status, dump_json({"error": error}), headers=headers or {})
