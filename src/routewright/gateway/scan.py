"""Which texts of a request are classified, and what their answers amount to.

The user's last turn routes. The jailbreak guard looks at the messages of the roles that it is
set to, each as a whole, and at the user's last messages together, so that an attack in pieces
is seen as one; the PII guard at every single text, so that spans have a place to be masked at,
and at the seams between the parts of a message.
"""

import asyncio
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter

from routewright.decoding import FloatArray
from routewright.errors import ClosedError, OverloadedError, RequestError, ServingError
from routewright.gateway.answer_signals import sequence_signal, sequence_signals
from routewright.gateway.bodies.reading import RequestFacts
from routewright.gateway.bodies.texts import TextPlace
from routewright.gateway.engine import Deployment, Engine
from routewright.gateway.seams import Seam, find_seams
from routewright.labels import Span
from routewright.policy.guards import Writer
from routewright.policy.settings import Policy
from routewright.policy.signals import SequenceSignal, Signals
from routewright.runtime.classifier import Classifier
from routewright.runtime.work import Classified

_AT_ONCE = 32
"""Texts of one request that wait for the model at the same time."""

_FAILURES: Mapping[str, str] = {
    "deadline": "no answer within the deadline",
    "budget": "no answer within the latency budget",
}


@dataclass(frozen=True, slots=True)
class Scan:
    """What the model says about a request."""

    signals: Signals
    spans: tuple[tuple[Span, ...], ...]
    """Personal data in each text of the request, in the order of `RequestFacts.texts`."""
    routing: Classified | None
    """What it says about the text that routes."""
    num_texts: int
    """Classified for this request."""
    num_tokens: int
    timings_s: Mapping[str, float] = field(default_factory=dict)
    """Of the text that took longest: ``tokenize``, ``queue``, ``inference``, ``decode``."""
    timed_out: frozenset[str] = frozenset()
    """Guards whose latency budget ran out."""

    @property
    def embedding(self) -> FloatArray | None:
        """Of the text that routes, ``(H,)``."""
        return None if self.routing is None else self.routing.embedding


@dataclass(frozen=True, slots=True)
class _Check:
    """A guard and the texts it has to see."""

    guard: str
    texts: frozenset[str]
    budget_s: float | None
    closed: bool
    """Whether nothing else counts once it has failed."""
    seams: tuple[Seam, ...] = ()


@dataclass(slots=True)
class _Found:
    """Answers so far, and why others are missing."""

    answers: dict[str, Classified] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)
    timed_out: set[str] = field(default_factory=set)

    def complete(self, check: _Check) -> bool:
        return check.guard not in self.timed_out and check.texts <= self.answers.keys()


async def scan(
    engine: Engine, deployment: Deployment, facts: RequestFacts, known: Signals
) -> Scan:
    """Classify what routes and what guards look at.

    Args:
        engine: classifies.
        deployment: the policy and model that serve this request.
        facts: the request.
        known: signals that are there without the model.

    Raises:
        RequestError: more texts than the settings allow.
        OverloadedError, ClosedError: the model takes no texts now. Any other failure is a
            missing signal, and the policy says what that means.
    """
    _limit(len(facts.texts), engine)
    checks = _checks(deployment.policy, facts)
    _limit(len(facts.texts) + sum(len(check.seams) for check in checks), engine)
    routing = known.text
    texts = {routing: None} | {text: None for check in checks for text in sorted(check.texts)}
    found = _Found()
    if len(texts) == 1 and all(check.budget_s is None for check in checks):
        await _ask(engine, deployment, routing, found, engine.settings.deadline_s)
    else:
        await _ask_all(engine, deployment, list(texts), checks, found)
    return _amount(deployment, facts, known, checks, found)


def _limit(num_texts: int, engine: Engine) -> None:
    if num_texts > engine.settings.max_texts:
        raise RequestError(
            f"the request has {num_texts} texts, places where parts of a message meet counted "
            f"in, more than the gateway's {engine.settings.max_texts}; send fewer messages or "
            "parts"
        )


def _checks(policy: Policy, facts: RequestFacts) -> list[_Check]:
    checks = []
    guard = policy.guards.jailbreak
    if guard is not None:
        closed = guard.on_error == "closed" and guard.mode == "block"
        messages = [*_messages(facts, guard.roles)]
        messages += last_together(facts, guard.across_messages)
        # Without any, the score is that of no text: a missing one would be a failed guard.
        texts = frozenset(messages or [""])
        checks.append(_Check("jailbreak", texts, guard.latency_budget_s, closed))
    pii = policy.guards.pii
    if pii is not None and pii.mode != "off":
        closed = pii.on_error == "closed" and pii.mode == "enforce"
        seams = find_seams(facts.texts)
        parts = [*(place.text for place in facts.texts), *(seam.text for seam in seams)]
        texts = frozenset(text for text in parts if text.strip())
        checks.append(_Check("pii", texts, pii.latency_budget_s, closed, seams))
    return checks


def _messages(facts: RequestFacts, roles: Container[Writer]) -> Iterable[str]:
    """Messages of these `roles`, and what is outside the conversation, each as one text."""
    joined: dict[tuple[int | None, Writer], list[str]] = {}
    for place in facts.texts:
        if (writer := _writer(place)) in roles:
            joined.setdefault((place.turn, writer), []).append(place.text)
    return (text for texts in joined.values() if (text := "\n".join(texts)).strip())


def _writer(place: TextPlace) -> Writer:
    """The user, where it is not known who: to say nothing must be no way round the guard."""
    return "user" if place.role == "unknown" else place.role


def last_together(facts: RequestFacts, num_characters: int) -> tuple[str, ...]:
    """The beginning of the user's last message behind the end of those before, as one text.

    None of a request with one message of the user. Half of `num_characters` is for the last
    message; the rest reaches back over as many messages as it takes.
    """
    turns: dict[int, list[str]] = {}
    for place in facts.texts:
        if _writer(place) == "user" and place.turn is not None:
            turns.setdefault(place.turn, []).append(place.text)
    *before, last = ["\n".join(texts) for texts in turns.values()] or [""]
    if not before or not num_characters:
        return ()
    pieces = [last[: num_characters // 2]]
    left = num_characters - len(pieces[0])
    for text in reversed(before):
        pieces.insert(0, text[-left:])
        left -= len(pieces[0])
        if left <= 0:
            break
    return ("\n".join(pieces),)


async def _ask(
    engine: Engine, deployment: Deployment, text: str, found: _Found, deadline_s: float
) -> None:
    try:
        answer = await engine.classify(text, deployment=deployment, deadline_s=deadline_s)
        found.answers[text] = answer
    except (OverloadedError, ClosedError):
        raise
    except ServingError as exc:
        found.failures.add(_FAILURES.get(exc.code, "the model failed"))


async def _ask_all(
    engine: Engine,
    deployment: Deployment,
    texts: list[str],
    checks: list[_Check],
    found: _Found,
) -> None:
    """Several texts at once; a guard whose budget runs out is not waited for."""
    characters = sum(map(len, texts))
    # A request must not fill the queue so far that its own later texts are refused.
    at_once = _AT_ONCE if characters < engine.settings.batching.max_queue_tokens // 4 else 1
    slots = asyncio.Semaphore(at_once)
    started = perf_counter()

    async def ask(text: str) -> None:
        async with slots:
            left_s = engine.settings.deadline_s - (perf_counter() - started)
            await _ask(engine, deployment, text, found, max(0.0, left_s))

    tasks = {text: asyncio.create_task(ask(text)) for text in texts}
    try:
        await _wait(tasks, texts[0], checks, found)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _wait(
    tasks: Mapping[str, "asyncio.Task[None]"],
    routing: str,
    checks: list[_Check],
    found: _Found,
) -> None:
    started = perf_counter()
    limited = sorted((c for c in checks if c.budget_s), key=lambda c: c.budget_s or 0.0)
    for check in limited:
        left_s = (check.budget_s or 0.0) - (perf_counter() - started)
        await _until_done([tasks[text] for text in check.texts], max(0.0, left_s))
        if not all(tasks[text].done() for text in check.texts):
            found.timed_out.add(check.guard)
            found.failures.add(_FAILURES["budget"])
            if check.closed:
                return
    going_on = [check for check in checks if check.guard not in found.timed_out]
    if going_on or not checks:
        needed = {routing, *(text for check in going_on for text in check.texts)}
        await _until_done([tasks[text] for text in needed], None)


async def _until_done(tasks: list["asyncio.Task[None]"], timeout_s: float | None) -> None:
    """Wait for all, or until one says that the model takes no texts."""
    waiting = [task for task in tasks if not task.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_EXCEPTION)
    # Those done before, too: a text may be refused while another guard's are waited for.
    for task in tasks:
        if task.done() and not task.cancelled() and (exc := task.exception()) is not None:
            raise exc


def _amount(
    deployment: Deployment,
    facts: RequestFacts,
    known: Signals,
    checks: list[_Check],
    found: _Found,
) -> Scan:
    names = deployment.policy.tasks
    routing = found.answers.get(known.text)
    sequence: dict[str, SequenceSignal] = {}
    spans: dict[str, tuple[Span, ...]] = {}
    if routing is not None:
        sequence |= sequence_signals(deployment.classifier, routing.answer)
        spans |= {name: tuple(given) for name, given in routing.answer.spans.items()}
    of_texts: tuple[tuple[Span, ...], ...] = ((),) * len(facts.texts)
    for check in checks:
        task = names.jailbreak if check.guard == "jailbreak" else names.pii
        sequence.pop(task, None)
        spans.pop(task, None)
        if task not in deployment.classifier.heads or not found.complete(check):
            continue  # a missing signal, which the policy does not take for a clean one
        if check.guard == "jailbreak":
            worst = _worst(deployment.classifier, check, found, task)
            sequence |= {} if worst is None else {task: worst}
        else:
            of_texts = _spans_of(facts, check, task, found)
            spans[task] = tuple(span for some in of_texts for span in some)
    return Scan(
        signals=replace(
            known,
            sequence=sequence,
            spans=spans,
            num_tokens=None if routing is None else routing.num_tokens,
            failure="; ".join(sorted(found.failures)) or known.failure,
        ),
        spans=of_texts,
        routing=routing,
        num_texts=len(found.answers),
        num_tokens=sum(given.num_tokens for given in found.answers.values()),
        timings_s=_slowest(found.answers.values()),
        timed_out=frozenset(found.timed_out),
    )


def _worst(
    classifier: Classifier, check: _Check, found: _Found, task: str
) -> SequenceSignal | None:
    """The signal of the message most like an attack."""
    answers = [found.answers[text].answer for text in check.texts]
    signals = [sequence_signal(classifier, a, task) for a in answers if task in a.sequence]
    return max(signals, key=lambda s: s.score or 0.0, default=None)


def _spans_of(
    facts: RequestFacts, check: _Check, task: str, found: _Found
) -> tuple[tuple[Span, ...], ...]:
    """Of each text: what was found in it, and its share of what lies across seams."""
    spans = [_spans_in(place.text, task, found) for place in facts.texts]
    for seam in check.seams:
        for place, span in seam.across(_spans_in(seam.text, task, found)):
            spans[place] = (*spans[place], span)
    return tuple(spans)


def _spans_in(text: str, task: str, found: _Found) -> tuple[Span, ...]:
    given = found.answers.get(text)
    return () if given is None else tuple(given.answer.spans.get(task, ()))


def _slowest(given: Iterable[Classified]) -> dict[str, float]:
    timings = [c.answer.timings_ms for c in given if c.answer.timings_ms]
    if not timings:
        return {}
    slowest = max(timings, key=lambda t: t["total"])
    return {name: ms / 1000 for name, ms in slowest.items() if name != "total"}
