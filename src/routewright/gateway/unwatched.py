"""What Envoy and the gateway have agreed on about answers that the gateway does not see.

Most answers go to the client as the model gave them, but for headers that are known with the
decision. An Envoy that says so (`ANSWERS`) takes these as dynamic metadata along with the reply
about the request, adds them to the answer by itself, and has the stream ended there: one
message fewer that a client waits for (decisions/0010). What became of the answer, its access
log says later (`left_answers`).
"""

import hashlib

ANSWER_HEADERS = (
    "x-routewright-abstained",
    "x-routewright-decision",
    "x-routewright-jailbreak-guard",
    "x-routewright-latency-ms",
    "x-routewright-masked",
    "x-routewright-pii-guard",
    "x-routewright-request-id",
    "x-routewright-tools",
    "x-vsr-injected-system-prompt",
    "x-vsr-jailbreak-blocked",
    "x-vsr-jailbreak-confidence",
    "x-vsr-jailbreak-type",
    "x-vsr-matched-domains",
    "x-vsr-matched-keywords",
    "x-vsr-pii-types",
    "x-vsr-pii-violation",
    "x-vsr-selected-category",
    "x-vsr-selected-decision",
    "x-vsr-selected-model",
    "x-vsr-selected-reasoning",
)
"""All that the gateway ever tells a client about its request."""

ANSWERS = "x-routewright-answers"
UNWATCHED = f"unwatched-{hashlib.sha256(repr(ANSWER_HEADERS).encode()).hexdigest()[:8]}"
"""Key and value of the gRPC metadata of an Envoy that adds them itself. The value names the
list: an Envoy whose file has another one, being older or newer, is not left with answers."""

ANSWER_NAMESPACE = "routewright"
"""Of the dynamic metadata that holds them, each under its name."""

ENDPOINT_FIELD, REQUEST_ID_FIELD = "endpoint", "request_id"
"""Beside them, for Envoy's access log."""

UNANSWERED = {"502": "upstream", "503": "upstream", "504": "timeout"}
"""Codes of errors, by the status that Envoy answers when no server did."""
