"""From a request to what happens to it: read, classify, decide, carry out; and its answer back.

One handler a request, the same for every door. Nothing here knows gRPC or sockets.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from routewright.errors import RequestError, RoutewrightError, ServingError
from routewright.gateway.answering import ANSWER_TOO_LARGE, AnswerReader
from routewright.gateway.bodies.blocking import Block, block_answer
from routewright.gateway.bodies.failures import HttpAnswer, error_answer
from routewright.gateway.bodies.model_list import MODELS_PATH, models_answer
from routewright.gateway.bodies.reading import (
    RequestFacts,
    check_charset,
    encoding_refusal,
    parse_body,
    read_request,
)
from routewright.gateway.bodies.rewriting import set_model
from routewright.gateway.bodies.texts import ENDPOINTS
from routewright.gateway.engine import Deployment, Engine
from routewright.gateway.exchange import (
    BodyHandling,
    Forward,
    Headers,
    Immediate,
    LeftAnswer,
    Outcome,
    ResponsePlan,
)
from routewright.gateway.history import History, known_signals
from routewright.gateway.json_bytes import dump_json, in_thread
from routewright.gateway.masking import Masker
from routewright.gateway.observation import Observer, RequestRecord, Stage
from routewright.gateway.outgoing import (
    Outgoing,
    answer_headers,
    blocked_types,
    forward_to,
    model_headers,
    outgoing,
    request_headers,
)
from routewright.gateway.scan import Scan, scan
from routewright.gateway.watching import Decided, Watcher, tell
from routewright.policy.decision import Decision, decide, standing_by
from routewright.policy.guards import GuardOutcome, fails_closed

logger = logging.getLogger(__name__)

Door = Literal["ext_proc", "http"]

OWN_HEADERS = ("x-vsr-", "x-routewright-")
"""What the gateway alone tells a client; a model server that sends them is not believed."""
_REFUSED = {404: "not_found", 405: "request", 415: "request"}
"""Codes of errors, by the status of a refusal that is not an exception."""


class Pipeline:
    """Makes a handler for every request."""

    def __init__(
        self,
        engine: Engine,
        observers: tuple[Observer, ...] = (),
        begin: Observer | None = None,
        watchers: tuple[Watcher, ...] = (),
    ) -> None:
        """Tell `begin` of every request, and `observers` once it has ended.

        `watchers` are told of those that were decided about.
        """
        self.engine = engine
        self._observers = observers
        self._begin = begin
        self._watchers = watchers

    def handler(self, door: Door) -> "PipelineHandler":
        """The handler of one request that came through `door`."""
        return PipelineHandler(
            self.engine, RequestRecord(door), self._observers, self._begin, self._watchers
        )


@dataclass(frozen=True, slots=True)
class _Request:
    """A request on its way, as it was decided about."""

    deployment: Deployment
    facts: RequestFacts
    body: Mapping[str, Any]
    size: int
    scanned: Scan
    history: History


class PipelineHandler:
    """Decides about one request; see `exchange.RequestHandler`."""

    def __init__(
        self,
        engine: Engine,
        record: RequestRecord,
        observers: tuple[Observer, ...],
        begin: Observer | None,
        watchers: tuple[Watcher, ...],
    ) -> None:
        self._engine = engine
        self._record = record
        self._observers = observers
        self._begin = begin
        self._watchers = watchers
        self._body: dict[str, Any] | None = None
        self._request: _Request | None = None
        self._decision: Decision | None = None
        self._waiting: list[str] = []
        """Models that stand by."""
        self._reader = AnswerReader(Masker(()))
        self._headers: dict[str, str] = {}
        engine.telemetry.gauge("in_flight_requests", 1, door=record.door)

    async def on_request(self, headers: Headers, body: bytes) -> Forward | Immediate:
        """Read, classify, decide and carry out."""
        record = self._record
        record.traceparent = headers.get("traceparent")
        if self._begin is not None:
            self._begin(record)
        try:
            return await self._on_request(headers, body)
        except asyncio.CancelledError:
            record.outcome = "aborted"
            raise
        except RequestError as exc:
            record.outcome, record.error = "refused", exc.code
            raise
        except RoutewrightError as exc:
            record.outcome, record.error = "failed", exc.code
            raise
        except Exception:
            record.outcome, record.error = "failed", "internal"
            raise
        finally:
            record.added_s = record.elapsed_s()

    async def _on_request(self, headers: Headers, body: bytes) -> Forward | Immediate:
        record = self._record
        path = headers.get(":path", "").partition("?")[0]
        method = headers.get(":method", "POST")
        deployment = self._engine.deployment
        if path == MODELS_PATH or path.startswith(f"{MODELS_PATH}/"):
            record.endpoint = "models"
            answer = models_answer(deployment.policy, method, path)
            record.error = "unknown_model" if answer.status == 404 else None
            return self._answer(answer, "answered" if answer.status < 400 else "refused")
        endpoint = ENDPOINTS.get(path)
        if endpoint is None:
            known = ", ".join([*ENDPOINTS, MODELS_PATH])
            message = f"there is no such endpoint; this gateway serves {known}"
            return self._answer(error_answer(404, message, code="not_found"), "refused")
        record.endpoint = endpoint
        if method != "POST":
            answer = error_answer(
                405,
                "use POST for this endpoint",
                code="method_not_allowed",
                headers={"allow": "POST"},
            )
            return self._answer(answer, "refused")
        refusal = encoding_refusal(headers.get("content-encoding", ""))
        if refusal is not None:
            return self._answer(refusal, "refused")

        check_charset(headers.get("content-type", ""))
        parsed = self._body = await in_thread(len(body), parse_body, body)
        facts = await in_thread(len(body), read_request, endpoint, parsed)
        record.num_unread = facts.num_unread
        history = History.of(
            self._engine.conversations, deployment.policy, headers, facts, parsed
        )
        record.stage("read", 0.0)
        signals = known_signals(headers, facts, parsed, history)
        scanned = await scan(self._engine, deployment, facts, signals)
        self._request = _Request(deployment, facts, parsed, len(body), scanned, history)
        self._note_scan(scanned)

        since_s = record.elapsed_s()
        decision = decide(scanned.signals, deployment.policy)
        record.stage("policy", since_s)
        self._note(decision)
        if decision.blocked:
            return self._blocked(decision)
        self._waiting = [m for m in decision.candidates if m != decision.model]
        return await self._forward(decision)

    def unguarded(self) -> Forward:
        """The default model, with the body as it came but for the model's name.

        Raises:
            ServingError: a guard stands in the way: one that acts says ``on_error: closed``, or
                has already found something to mask or to block.
        """
        deployment = self._engine.deployment
        found = self._decision is not None and any(
            outcome.action != "allow" for outcome in self._decision.guards
        )
        policy = deployment.policy
        overrides = [model.guards for model in policy.models.values()]
        overrides += [decision.guards for decision in policy.decisions]
        if found or fails_closed(policy.guards, overrides):
            raise ServingError("a guard lets no request pass that it could not check")
        name = self._record.model = policy.default_model
        model = policy.models[name]
        body = None
        if self._body is not None:
            body = dump_json(set_model(self._body, model.served_name or name))
        headers = self._traced(model_headers(deployment, name))
        return forward_to(deployment, name, body, headers)

    async def on_unavailable(self) -> Forward | Immediate | None:
        """The next model that stands by and that the guards let the request go to."""
        request, decision = self._request, self._decision
        if request is None or decision is None:
            return None
        signals, policy = request.scanned.signals, request.deployment.policy
        while self._waiting:
            model = self._waiting.pop(0)
            other = standing_by(decision, signals, policy, model=model)
            if not other.blocked:
                self._record.model, self._record.guards = model, other.guards
                return await self._forward(other)
        return None

    async def on_response_headers(self, headers: Headers) -> ResponsePlan | Immediate:
        """Add what was decided; look into the answer only if values must be put back."""
        self._record.status = _status(headers)
        plan = self._reader.plan(headers)
        if plan is BodyHandling.WHOLE and self._reader.is_too_large(headers):
            return self.on_too_large()
        forged = tuple(
            name
            for name in headers
            if name.startswith(OWN_HEADERS) and name not in self._headers
        )
        return ResponsePlan(set_headers=self._headers, remove_headers=forged, body=plan)

    async def on_response_chunk(self, chunk: bytes, *, end: bool) -> bytes:
        """The answer with the values put back."""
        return await self._reader.take(chunk, end=end)

    def on_too_large(self) -> Immediate:
        """A refusal that is told of in the record, in the place of the model's answer."""
        self._record.error = "too_large"
        return self._answer(ANSWER_TOO_LARGE, "failed")

    def on_left(self) -> None:
        """Tell the observers, but not of the end: the door's log does, later."""
        self._record.left = True
        self._end()

    def on_end(self, outcome: Outcome, code: str | None = None) -> None:
        """Tell the observers."""
        record = self._record
        record.duration_s = record.elapsed_s()
        if record.added_s is None:  # the door itself refused it, or its client left before
            record.outcome = "refused"
        if outcome is Outcome.ABORTED and record.outcome in {"forwarded", "refused"}:
            record.outcome = "aborted"
        if outcome in {Outcome.FAILED, Outcome.BROKEN}:
            record.outcome = "failed"
        unknown = "internal" if outcome is Outcome.FAILED else None
        record.error = record.error or code or unknown
        self._end()

    def _end(self) -> None:
        record = self._record
        self._engine.telemetry.gauge("in_flight_requests", -1, door=record.door)
        for observe in self._observers:
            observe(record)
        request, decision = self._request, self._decision
        if request is not None and decision is not None:
            facts, scanned = request.facts, request.scanned
            tell(self._watchers, Decided(request.deployment, facts, scanned, decision))

    def _note_scan(self, scanned: Scan) -> None:
        record = self._record
        start_s = record.stages[-1].start_s + record.stages[-1].duration_s
        for name, duration_s in scanned.timings_s.items():
            record.stages.append(Stage(name, start_s, duration_s))
            start_s += duration_s
        record.num_texts, record.num_tokens = scanned.num_texts, scanned.num_tokens
        record.timed_out = scanned.timed_out
        for spans in scanned.signals.spans.values():
            for span in spans:
                record.num_entities[span.label] = record.num_entities.get(span.label, 0) + 1

    def _note(self, decision: Decision) -> None:
        record = self._record
        self._decision = decision
        record.kind, record.decision, record.model = (
            decision.kind,
            decision.name,
            decision.model,
        )
        record.guards, record.abstained = decision.guards, decision.reasons.abstained

    def _blocked(self, decision: Decision) -> Immediate:
        request = self._decided
        self._record.model = None
        blocking = [o for o in decision.guards if o.action == "block"]
        answer = _refusal(decision, blocking, request.facts)
        failed = all(outcome.failed for outcome in blocking)
        self._headers = self._told(decision, None)
        if failed:
            self._record.error = "serving"
        return self._answer(answer, "refused" if failed else "blocked")

    async def _forward(self, decision: Decision) -> Forward:
        request = self._decided
        since_s = self._record.elapsed_s()
        sent, body = await in_thread(request.size, _write, request, decision)
        # Nothing can be put back into numbers, and there may be more than fit in a body.
        numbers = request.facts.endpoint == "embeddings"
        self._reader = AnswerReader(
            Masker(()) if numbers else sent.masker,
            json_content=request.facts.json_answer,
            tell_id=partial(request.history.note_answer, decision)
            if request.history.keeps_answer
            else None,
            max_body_bytes=self._engine.settings.max_body_bytes,
        )
        deployment = request.deployment
        self._headers = self._told(decision, sent)
        since_s = self._record.stage("rewrite", since_s)
        self._headers["x-routewright-request-id"] = self._record.request_id
        self._headers["x-routewright-latency-ms"] = f"{since_s * 1000:.2f}"
        request.history.note(decision)
        self._record.outcome = "forwarded"
        looks = self._reader.looks
        headers = self._traced(request_headers(deployment, decision, readable=looks))
        answer = None if looks else self._left_answer(request.facts.endpoint)
        return forward_to(deployment, decision.model, body, headers, answer)

    def _left_answer(self, endpoint: str) -> LeftAnswer:
        request_id = self._record.request_id
        return LeftAnswer(headers=self._headers, endpoint=endpoint, request_id=request_id)

    def _traced(self, headers: dict[str, str]) -> dict[str, str]:
        """With our span's context; without one the client's header passes as it came."""
        own = self._record.own_traceparent
        return headers if own is None else {**headers, "traceparent": own}

    def _told(self, decision: Decision, sent: Outgoing | None) -> dict[str, str]:
        request = self._decided
        domain = request.deployment.policy.tasks.domain
        return answer_headers(decision, request.scanned, sent, domain=domain)

    @property
    def _decided(self) -> _Request:
        if self._request is None:
            raise AssertionError("asked before the request was decided about")
        return self._request

    def _answer(self, answer: HttpAnswer, outcome: str) -> Immediate:
        self._record.outcome, self._record.status = outcome, answer.status
        self._record.error = self._record.error or _REFUSED.get(answer.status)
        headers = {"content-type": answer.content_type, **answer.headers, **self._headers}
        headers["x-routewright-request-id"] = self._record.request_id
        headers["x-routewright-latency-ms"] = f"{self._record.elapsed_s() * 1000:.2f}"
        return Immediate(status=answer.status, headers=headers, body=answer.body)


def _write(request: _Request, decision: Decision) -> tuple[Outgoing, bytes | None]:
    sent = outgoing(request.deployment, request.facts, request.body, decision, request.scanned)
    return sent, None if sent.body == request.body else dump_json(sent.body)


def _refusal(
    decision: Decision, blocking: list[GuardOutcome], facts: RequestFacts
) -> HttpAnswer:
    """A block in the endpoint's own shape, or an error if a guard could not do its work."""
    caught = next((outcome for outcome in blocking if not outcome.failed), None)
    if caught is None:
        guards = " and ".join(outcome.guard for outcome in blocking)
        message = f"the {guards} guard could not check this request; try again later"
        return error_answer(503, message, code="guard_failed")
    block = Block(caught.guard, int(time.time()), blocked_types(decision))
    return block_answer(facts.endpoint, block, stream=facts.stream)


def _status(headers: Headers) -> int | None:
    status = headers.get(":status", "")
    return int(status) if status.isdecimal() else None
