"""What Envoy and the gateway have agreed on about answers that the gateway does not see.

Most answers go to the client as the model gave them, but for headers that are known with the
decision. An Envoy that says so (`ANSWERS`) takes these as dynamic metadata along with the reply
about the request, adds them to the answer by itself, and has the stream ended there: one
message fewer that a client waits for (decisions/0010). What became of the answer, its access
log says later (`left_answers`).
"""

ANSWERS, UNWATCHED = "x-routewright-answers", "unwatched"
"""Key and value of the gRPC metadata of an Envoy that adds `ANSWER_HEADERS` itself."""

ANSWER_NAMESPACE = "routewright"
"""Of the dynamic metadata that holds them, each under its name."""

ANSWER_KEY = "key"
"""Beside them: what Envoy's access log names the answer by."""

UNANSWERED = {"502": "upstream", "503": "upstream", "504": "timeout"}
"""Codes of errors, by the status that Envoy answers when no server did."""

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
