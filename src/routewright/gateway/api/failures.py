"""Errors in the shape of the original router's API, with the status and code of each."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.responses import Response

from routewright.errors import OverloadedError, RoutewrightError
from routewright.gateway.api.results import ErrorDetail, ErrorResult, to_json

FAILURES: Mapping[str, tuple[int, str]] = {
    "request": (400, "INVALID_INPUT"),
    "unauthorized": (401, "UNAUTHORIZED"),
    "unknown_model": (404, "MODEL_NOT_FOUND"),
    "not_found": (404, "NOT_FOUND"),
    "method_not_allowed": (405, "METHOD_NOT_ALLOWED"),
    "reload": (409, "RELOAD_FAILED"),
    "request_timeout": (408, "REQUEST_TIMEOUT"),
    "too_large": (413, "REQUEST_TOO_LARGE"),
    "headers_too_large": (431, "HEADERS_TOO_LARGE"),
    "overloaded": (429, "RATE_LIMIT_EXCEEDED"),
    "internal": (500, "INTERNAL_ERROR"),
    "serving": (503, "CLASSIFICATION_ERROR"),
    "task": (503, "MODEL_NOT_LOADED"),
    "closed": (503, "UNAVAILABLE"),
    "deadline": (504, "TIMEOUT_ERROR"),
}
"""Status and the API's code, by our own code."""
SLOW_MESSAGE = "the request did not arrive in time; send it again"
HEADERS_MESSAGE = "the request's headers are larger than allowed"
INTERNAL_MESSAGE = "the gateway cannot serve this request; see its log"


class Failure(Response):
    """An answer that says what is wrong."""

    def __init__(
        self, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """`code` is one of `FAILURES`; `message` holds no value of the request."""
        self.code = code
        status, name = FAILURES[code]
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        detail = ErrorDetail(code=name, message=message, timestamp=now)
        super().__init__(
            to_json(ErrorResult(error=detail)), status, headers, "application/json"
        )


def failure(exc: RoutewrightError) -> Failure:
    """The answer to a request that failed.

    Errors of the operator's making are not explained to clients: their messages name paths.
    """
    if exc.code not in FAILURES:
        return Failure("internal", INTERNAL_MESSAGE)
    headers = {}
    if isinstance(exc, OverloadedError):
        headers["retry-after"] = str(max(1, math.ceil(exc.retry_after_s)))
    return Failure(exc.code, str(exc), headers=headers)
