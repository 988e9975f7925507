"""What a door asks of the pipeline for one HTTP request, and the answers it understands.

Knows nothing of gRPC, Envoy or OpenAI: a door translates its protocol into these types. Header
names are lower case; values are text decoded as UTF-8 with surrogate escapes, so that any bytes
come back as they were; repeated headers are joined with a comma. Pseudo-headers such as
``:path`` and ``:status`` are among them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Protocol

from routewright.policy.settings import Endpoint

Headers = Mapping[str, str]

NOT_IN_ENVOY = {HTTPStatus.IM_A_TEAPOT, HTTPStatus.TOO_EARLY}
NOT_IN_ENVOY |= {HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS}
STATUSES = frozenset(int(s) for s in HTTPStatus if s >= HTTPStatus.OK and s not in NOT_IN_ENVOY)
"""Statuses that every door can send; Envoy refuses those it has no name for."""


def check_headers(headers: Headers) -> None:
    """Refuse a line break or a null in a value: it would smuggle in a header of its own.

    Raises:
        ValueError: names the header, not its value.
    """
    for name, value in headers.items():
        if "\r" in value or "\n" in value or "\0" in value:
            raise ValueError(f"header {name} has a line break or a null in its value")


class BodyHandling(Enum):
    """What the handler wants of the answer's body."""

    PASS = "pass"  # noqa: S105 - no password
    """Nothing: the bytes go to the client without being seen."""
    WHOLE = "whole"
    """All of it, in one chunk with ``end=True``; the client waits for it."""
    STREAM = "stream"
    """Chunk by chunk, each on its way as soon as the handler returns it."""


class Outcome(Enum):
    """How an exchange ended."""

    COMPLETE = "complete"
    ABORTED = "aborted"
    """The client went away, or the gateway was stopped, before the answer was through. Of an
    answer watched through Envoy also: it broke off, as Envoy then says the same of both."""
    FAILED = "failed"
    """The handler raised, and the configured failure took its place."""
    BROKEN = "broken"
    """No model answered, or its answer broke off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponsePlan:
    """What to do with the model's answer."""

    set_headers: Headers = field(default_factory=dict)
    remove_headers: tuple[str, ...] = ()
    body: BodyHandling = BodyHandling.PASS

    def __post_init__(self) -> None:
        check_headers(self.set_headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftAnswer:
    """What any answer to a request gets, for a door that need not see it for that."""

    headers: Headers
    """For the client."""
    endpoint: str
    request_id: str
    """By these two the end of the answer is told of; see `EndedAnswer`."""

    def __post_init__(self) -> None:
        check_headers(self.headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedAnswer:
    """How an answer ended that was left alone."""

    endpoint: str
    request_id: str
    outcome: Outcome
    """Complete, aborted or broken."""
    code: str | None
    """Of the error that ended it; of the closed set ``code`` of `telemetry`."""
    status: int | None
    """That the client got, if it got one."""
    duration_s: float
    """From the request's arrival, as Envoy counts it, to the end of the answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """Send the request on to a model."""

    set_headers: Headers = field(default_factory=dict)
    remove_headers: tuple[str, ...] = ()
    body: bytes | None = None
    """The body to send instead; None keeps the client's. Must be None if it sent none."""
    model: str | None = None
    """Name of the chosen model, for a door that talks to models itself."""
    endpoints: tuple[Endpoint, ...] = ()
    """Its servers."""
    answer: LeftAnswer | None = None
    """What any answer gets, if none has to be seen. A door that can do that by itself may leave
    the answer alone, and calls nothing but `on_left` then."""

    def __post_init__(self) -> None:
        check_headers(self.set_headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Immediate:
    """Answer the client without asking a model."""

    status: int
    """One of `STATUSES`."""
    headers: Headers = field(default_factory=dict)
    body: bytes = b""

    def __post_init__(self) -> None:
        check_headers(self.headers)
        if self.status not in STATUSES:
            raise ValueError(f"status {self.status} cannot be sent through every door")


class RequestHandler(Protocol):
    """Decides about one request and its answer; the door makes one for every request.

    The calls come in the order of the methods and never overlap. A `RequestError` from
    `on_request` is the client's mistake and becomes its 4xx. Any other exception is a failure
    of the gateway: the door answers with its configured failure or sends the request where
    `unguarded` says, calls nothing but `on_end` afterwards, and logs the type of the
    exception, never its text.
    """

    async def on_request(self, headers: Headers, body: bytes) -> Forward | Immediate:
        """Decide what happens to the request, of which `body` is all; cancelled on abort."""
        ...

    def unguarded(self) -> Forward:
        """Where the request goes when `on_request` failed and the operator lets it pass.

        What it raises, such as `ServingError`, says that a guard does not.
        """
        ...

    async def on_unavailable(self) -> Forward | Immediate | None:
        """What next when all servers of the model failed before any byte of an answer.

        For a door that talks to models itself; may be called again after each `Forward`.
        None: nobody stands by.
        """
        ...

    async def on_response_headers(self, headers: Headers) -> ResponsePlan | Immediate:
        """Decide how the answer is treated; not called after an `Immediate`."""
        ...

    async def on_response_chunk(self, chunk: bytes, *, end: bool) -> bytes:
        """What the client gets for `chunk`; with `end`, also all that was held back."""
        ...

    def on_too_large(self) -> Immediate:
        """What the client gets instead of an answer that is too large for the door to gather.

        Only `on_end` follows.
        """
        ...

    def on_left(self) -> None:
        """Called once, last, instead of `on_end`: the answer is left alone; must not raise."""
        ...

    def on_end(self, outcome: Outcome, code: str | None = None) -> None:
        """Called once, last, whatever happened; must not raise.

        Args:
            outcome: how it ended.
            code: of the error that ended it, if the door knows of one and the handler does
                not; of the closed set ``code`` of `telemetry`.
        """
        ...


HandlerFactory = Callable[[], RequestHandler]
