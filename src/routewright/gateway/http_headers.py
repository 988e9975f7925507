"""Which headers pass through the standalone door, both ways, and the id of own answers.

Raw headers are pairs of bytes as they came, repeated ones included.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from routewright.gateway.exchange import Forward, Headers, Immediate, ResponsePlan
from routewright.gateway.outgoing import DESTINATION_HEADER

RawHeaders = Sequence[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip
"""Of one connection alone: RFC 9110 section 7.6.1, and those that proxies know besides."""

CONTROL = (b"x-vsr-", b"x-routewright-", b"x-selected-model")
"""What only the gateway may say, so neither a client nor a model server can forge it."""

NOT_FORWARDED = frozenset({"host", "content-length", "expect", DESTINATION_HEADER})
"""Headers of a request that the gateway's own client writes anew, and the one that leads Envoy:
it names one server of the model, here perhaps another than the one asked."""

REQUEST_ID = "x-request-id"
"""What OpenAI's clients tell as the id of a request; model servers send their own."""
LOGGED_ID = "x-routewright-request-id"
"""Its id in our log."""
_MAX_ID_CHARS = 128


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers meant for the other end, names in lower case, without forged ones."""
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = HOP_BY_HOP
    for name, value in lowered:
        if name == b"connection":
            dropped = dropped.union(token.strip().lower() for token in value.split(b","))
    return [h for h in lowered if h[0] not in dropped and not h[0].startswith(CONTROL)]


def as_mapping(headers: RawHeaders, pseudo: Mapping[str, str]) -> dict[str, str]:
    """The headers as an exchange has them, after the pseudo-headers."""
    mapping = dict(pseudo)
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1")
        value = raw_value.decode("utf-8", "surrogateescape")
        mapping[name] = f"{mapping[name]},{value}" if name in mapping else value
    return mapping


def first_not_utf8(headers: RawHeaders) -> str | None:
    """Name of a header whose value is not UTF-8, which the upstream client cannot send."""
    for name, value in headers:
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            return name.decode("latin-1")
    return None


def to_upstream(headers: RawHeaders, route: Forward) -> list[tuple[str, str]]:
    """What a model server gets: the client's headers with the changes of `route`."""
    removed = NOT_FORWARDED.union(route.remove_headers, route.set_headers)
    decoded = ((name.decode("latin-1"), value.decode("utf-8")) for name, value in headers)
    kept = [header for header in decoded if header[0] not in removed]
    added = ((n, v) for n, v in route.set_headers.items() if not n.startswith(":"))
    return [*kept, *((n, v) for n, v in added if n not in NOT_FORWARDED)]


def to_client(
    headers: RawHeaders, plan: ResponsePlan, *, same_body: bool
) -> list[tuple[bytes, bytes]]:
    """What the client gets: the server's headers with the changes of `plan`.

    Args:
        headers: those of the server, end to end.
        plan: whose headers to set and remove.
        same_body: the body passes unchanged, so its length is known.
    """
    removed = {name.encode("latin-1") for name in (*plan.remove_headers, *plan.set_headers)}
    removed.add(b"date")  # the door's own server writes one
    if not same_body:
        removed.add(b"content-length")
    kept = [header for header in headers if header[0] not in removed]
    return [*kept, *encoded(plan.set_headers)]


def encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers as bytes, without pseudo-headers."""
    return [
        (name.encode("latin-1"), value.encode("utf-8", "surrogateescape"))
        for name, value in headers.items()
        if not name.startswith(":")
    ]


def answer_id(request: Headers, logged: str | None = None) -> str:
    """The ``x-request-id`` of an answer of the gateway's own.

    It is the client's, if that is printable ASCII of at most 128 characters; else the one that
    is `logged`; else a fresh one.
    """
    sent = request.get(REQUEST_ID, "")
    usable = 0 < len(sent) <= _MAX_ID_CHARS and sent.isascii() and sent.isprintable()
    return sent if usable else logged or secrets.token_hex(16)


def identified(answer: Immediate, request: Headers) -> Immediate:
    """An answer of the gateway's own with its ``x-request-id``; see `answer_id`."""
    if REQUEST_ID in answer.headers:
        return answer
    own = answer_id(request, answer.headers.get(LOGGED_ID))
    return replace(answer, headers={**answer.headers, REQUEST_ID: own})
