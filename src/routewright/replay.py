"""What a policy does with logged requests: the gateway's own way, without doors and models.

What comes out names lines, decisions, models and what guards did, never a text of a request.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from routewright.data.rows import Row, read_rows
from routewright.errors import DataError
from routewright.gateway.bodies.texts import ENDPOINTS
from routewright.gateway.deploying import Loaded
from routewright.gateway.engine import Deployment, Engine
from routewright.gateway.exchange import Headers, Outcome
from routewright.gateway.guarded import GuardedHandler
from routewright.gateway.http_headers import as_mapping, end_to_end
from routewright.gateway.observation import RequestRecord, guard_action
from routewright.gateway.pipeline import Pipeline
from routewright.gateway.telemetry import Telemetry

_NO_HURRY_S = 3600.0
"""Deadline of a text: what a policy decides must not depend on this machine's load."""
_OF_THE_LOG = {"content-type", "content-length", "content-encoding", "accept-encoding"}
"""Headers that tell of the bytes that were sent then, which these are not."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request as it came."""

    line: int
    """In its file, from 1."""
    headers: Headers
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy does with a request; names of the configuration only."""

    outcome: str
    """``forwarded``, ``blocked``, ``refused``, ``answered`` or ``failed``."""
    decision: str | None
    """Of the policy; None for its default, a model that the client names, and the rest."""
    kind: str | None
    """Why: ``rule``, ``default``, ``abstained``, ``named`` or ``kept``."""
    model: str | None
    guards: Mapping[str, str]
    """What each guard did: ``passed``, ``masked``, ``blocked``, ``would_block`` and so on."""
    entity_types: tuple[str, ...]
    """Of the personal data found, sorted."""
    error: str | None
    """Code, if the request was refused or failed."""

    def differences(self, other: "Verdict") -> dict[str, tuple[Any, Any]]:
        """What is not equal, by name: here, and in `other`; guards one by one."""
        mine, its = self.flat(), other.flat()
        return {
            name: (mine.get(name), its.get(name))
            for name in {**mine, **its}
            if mine.get(name) != its.get(name)
        }

    def flat(self) -> dict[str, Any]:
        """What is compared: guards under their names, without why a decision was taken."""
        plain = {"outcome": self.outcome, "decision": self.decision, "model": self.model}
        guards = {f"guard {name}": action for name, action in self.guards.items()}
        return {**plain, **guards, "error": self.error}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


_TOO_LARGE = Verdict("refused", None, None, None, {}, (), "too_large")


def read_traffic(path: Path) -> Iterator[LoggedRequest]:
    """Requests of a file, one a row.

    A row is a request's body as OpenAI's API has it; or has ``body`` and, if wanted, ``path``
    and ``headers``; or has ``text``, the only message of a chat.

    Raises:
        DataError: a row is none of these, with file and line; the file holds no rows.
    """
    line = None
    for line, row in read_rows(path):
        try:
            yield _request(line, row)
        except DataError as exc:
            raise DataError(str(exc), path=path, line=line) from exc
    if line is None:
        raise DataError("holds no requests", path=path)


def _request(line: int, row: Row) -> LoggedRequest:
    body = row.get("body")
    alone = body is None
    if alone:
        body = row
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise DataError(
                "body is text and no JSON; log the request's body as it is"
            ) from exc
    if not isinstance(body, Mapping):
        raise DataError(f"body has to be an object, found {type(body).__name__}")
    path = _path(body) if alone else row.get("path") or _path(body)
    if path is None and isinstance(row.get("text"), str):
        body = {"model": "auto", "messages": [{"role": "user", "content": row["text"]}]}
        path = _path(body)
    if path is None:
        raise DataError("needs messages, prompt, input or text, or body with one of them")
    if not isinstance(path, str) or path.partition("?")[0] not in ENDPOINTS:
        raise DataError(f"path {path} is no endpoint; known: {', '.join(ENDPOINTS)}")
    try:
        raw = json.dumps(body).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise DataError("body holds values that JSON does not have, or nests too deep") from exc
    return LoggedRequest(line, _headers(row.get("headers") or {}, path), raw)


def _path(body: Mapping[str, Any]) -> str | None:
    """The endpoint by what only its bodies have; embeddings have to say their path."""
    if "messages" in body:
        return "/v1/chat/completions"
    # A prompt of the Responses API is an object.
    if isinstance(body.get("prompt"), str | list):
        return "/v1/completions"
    return "/v1/responses" if "input" in body or "prompt" in body else None


def _headers(given: Any, path: str) -> dict[str, str]:
    """As the HTTP door hands them on: none that is forged or of the connection."""
    if not isinstance(given, Mapping):
        raise DataError("headers have to be an object of names and values")
    raw = [
        (str(name).encode("utf-8", "replace"), str(value).encode("utf-8", "surrogatepass"))
        for name, value in given.items()
        if str(name).lower() not in _OF_THE_LOG and not str(name).startswith(":")
    ]
    return as_mapping(end_to_end(raw), {":method": "POST", ":path": path})


def replay(
    requests: Sequence[LoggedRequest],
    loaded: Loaded,
    *,
    on_done: Callable[[], None] = lambda: None,
) -> list[Verdict]:
    """What the gateway would do with `requests`, one after the other as a log has them.

    Sessions and tool loops keep their models as they would live; answers of models, and what
    becomes of them, are not known.

    Args:
        requests: in the order of their arrival. Deadlines and latency budgets do not count.
        loaded: policy and bundle; secrets are not needed.
        on_done: told after each.
    """
    return asyncio.run(_replay(requests, loaded, on_done))


async def _replay(
    requests: Iterable[LoggedRequest], loaded: Loaded, on_done: Callable[[], None]
) -> list[Verdict]:
    settings = replace(loaded.file.settings, deadline_s=_NO_HURRY_S)
    engine = Engine(_without_budgets(loaded.deployment), settings, Telemetry())
    verdicts: list[Verdict] = []
    pipeline = Pipeline(engine, (lambda record: verdicts.append(_verdict(record)),))
    try:
        for request in requests:
            if len(request.body) > settings.max_body_bytes:  # as the door says before it asks
                verdicts.append(_TOO_LARGE)
            else:
                handler = GuardedHandler(pipeline.handler("http"), settings.on_error)
                await handler.on_request(request.headers, request.body)
                handler.end(Outcome.FAILED if handler.failed else Outcome.COMPLETE)
            on_done()
    finally:
        await engine.close()
    return verdicts


def _without_budgets(deployment: Deployment) -> Deployment:
    policy = deployment.policy
    jailbreak, pii = policy.guards.jailbreak, policy.guards.pii
    guards = replace(
        policy.guards,
        jailbreak=jailbreak and replace(jailbreak, latency_budget_s=None),
        pii=pii and replace(pii, latency_budget_s=None),
    )
    return replace(deployment, policy=replace(policy, guards=guards))


def _verdict(record: RequestRecord) -> Verdict:
    actions: dict[str, str] = {
        outcome.guard: guard_action(outcome, timed_out=outcome.guard in record.timed_out)
        for outcome in record.guards
    }
    return Verdict(
        outcome=record.outcome,
        decision=record.decision,
        kind=record.kind,
        model=record.model,
        guards=actions,
        entity_types=tuple(sorted(record.num_entities)),
        error=record.error,
    )
