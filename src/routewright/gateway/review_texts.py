"""Which texts a person should look at, and what of them may be kept: pure functions.

A row is about one text, the user's last turn, and tells what the model said about that very
text. A guard also judges other texts (results of tools, messages put together): what is found
there makes no row, as a label of the user's turn would say nothing about it.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from routewright.gateway.bodies.reading import RequestFacts
from routewright.gateway.settings import ReviewReason
from routewright.gateway.watching import Decided
from routewright.labels import Span
from routewright.policy.guards import GuardOutcome

Reason = ReviewReason | Literal["random"]
Refusal = Literal["unmasked", "unsuitable"]
"""Why a text is not kept: the PII head has not looked at it; nobody could label it."""

NEAR = math.log(3)
"""In log-odds: a score is near a threshold if its odds are within a third and three times."""
_MAX_VALUES = 256
"""Values of one request that are looked for; with more its text is not kept."""
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked about a text: whether the model is right."""

    task: str
    reason: Reason
    predicted: str
    confidence: float
    """Probability of `predicted`."""


@dataclass(frozen=True, slots=True)
class UserText:
    """A text with all that must be taken out of it before it is kept."""

    text: str
    spans: tuple[Span, ...]
    """Personal data in it; may overlap."""
    values: Mapping[str, str]
    """Of personal data anywhere in the request, with their types."""

    def masked(self) -> str:
        """The text with every entity replaced by its type in brackets, as ``[PERSON]``."""
        found = [*self.spans, *_again(self.text, self.values)]
        pieces, position = [], 0
        for span in sorted(found, key=lambda s: (s.start, -s.end)):
            if span.start >= position:
                pieces += [self.text[position : span.start], f"[{span.label}]"]
            # Of entities that overlap the first gives the type of them all.
            position = max(position, span.end)
        return _SURROGATE.sub("\ufffd", "".join([*pieces, self.text[position:]]))


def questions(
    decided: Decided, reasons: Collection[str], *, is_random: bool
) -> tuple[Question, ...]:
    """What to ask about the user's last turn: at most one question a task.

    Args:
        decided: about a request.
        reasons: those that count.
        is_random: whether this request was drawn: then every task that the policy uses is asked
            about, for that reason, whatever else holds. So they are a fair sample.
    """
    routing, policy = decided.scanned.routing, decided.deployment.policy
    if routing is None:
        return ()
    answers = routing.answer.sequence
    asked: dict[str, Question] = {}
    tasks = dict.fromkeys(policy.asked_tasks)
    if policy.tools.catalogue:
        tasks[policy.tasks.intent] = None
    for task in tasks:
        if (own := answers.get(task)) is None:
            continue
        stated = policy.abstention_thresholds.get(task)
        abstained = own.abstained if stated is None else own.confidence < stated
        if is_random or (abstained and "abstained" in reasons):
            reason: Reason = "random" if is_random else "abstained"
            asked[task] = Question(task, reason, own.label, own.confidence)
    judged = _about_attack(decided, reasons, is_random=is_random)
    return tuple((asked | ({} if judged is None else {judged.task: judged})).values())


def _about_attack(
    decided: Decided, reasons: Collection[str], *, is_random: bool
) -> Question | None:
    """The question that the jailbreak guard raises, by its own threshold."""
    routing, policy = decided.scanned.routing, decided.deployment.policy
    outcome = next((o for o in decided.decision.guards if o.guard == "jailbreak"), None)
    task = policy.tasks.jailbreak
    head = decided.deployment.classifier.heads.get(task)
    if routing is None or outcome is None or outcome.threshold is None or head is None:
        return None  # without a threshold the guard is off, or has failed
    positive = head.task.positive
    probabilities = routing.answer.sequence[task].probabilities
    if positive is None:
        return None
    score = probabilities[positive]
    reason: Reason | None = "random" if is_random else _reason(outcome, score, reasons)
    if reason is None:
        return None
    (negative,) = (label for label in probabilities if label != positive)
    predicted = positive if score >= outcome.threshold else negative
    return Question(task, reason, predicted, probabilities[predicted])


def _reason(outcome: GuardOutcome, score: float, reasons: Collection[str]) -> Reason | None:
    threshold = outcome.threshold or 0.0
    if score >= threshold:
        what: Reason = "blocked" if outcome.action == "block" else "would_block"
        if what in reasons:
            return what
    near = abs(_log_odds(score) - _log_odds(threshold)) <= NEAR
    return "near_threshold" if near and "near_threshold" in reasons else None


def _log_odds(probability: float) -> float:
    if not 0 < probability < 1:
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability / (1 - probability))


def user_text(decided: Decided, max_characters: int) -> UserText | Refusal:
    """The user's last turn with its personal data, or why it must not be kept.

    A longer text is not cut: what was said about the whole need not hold for its beginning.
    """
    facts, scanned = decided.facts, decided.scanned
    text = scanned.signals.text
    places = _last_turn(facts)
    if not places or not text.strip() or len(text) > max_characters:
        return "unsuitable"
    failed = any(o.guard == "pii" and o.failed for o in decided.decision.guards)
    task = decided.deployment.policy.tasks.pii
    given = None if scanned.routing is None else scanned.routing.answer.spans.get(task)
    if failed or given is None:
        return "unmasked"
    values = {text[s.start : s.end]: s.label for s in given}
    for place, found in zip(facts.texts, scanned.spans, strict=True):
        values |= {place.text[s.start : s.end]: s.label for s in found}
    if len(values) > _MAX_VALUES:
        return "unmasked"
    spans, start = list(given), 0
    for index in places:
        spans += [Span(s.start + start, s.end + start, s.label) for s in scanned.spans[index]]
        start += len(facts.texts[index].text) + 1
    return UserText(text, tuple(spans), values)


def _last_turn(facts: RequestFacts) -> list[int]:
    """Places of the texts of the user's last message; none if it is more than a message.

    A ``name`` beside the content, several prompts in one request and what is to be embedded
    are read and routed as one text, and are none that a person wrote.
    """
    users = [i for i, p in enumerate(facts.texts) if p.role == "user" and p.turn is not None]
    if not users or facts.endpoint == "embeddings":
        return []
    last = [i for i in users if facts.texts[i].turn == facts.texts[users[-1]].turn]
    return last if len(last) == 1 or all(facts.texts[i].is_part for i in last) else []


def _again(text: str, values: Mapping[str, str]) -> Iterator[Span]:
    """Where values that were found in one place stand as whole words in another.

    A classifier may overlook alone what it saw in a sentence. Short numbers are no values: an
    age would be found in every sum. Case and spaces may differ, but for a value of one word of
    letters, which in another case is often no name: will, mark, may.
    """
    folded = text.casefold()
    for value, label in values.items():
        words = value.split()
        length = len(" ".join(words))
        if length < 3 or (length < 5 and not value.isalpha()):
            continue
        if not all(word.casefold() in folded for word in words):
            continue  # to know that is a thousand times faster than to search
        pattern = r"\s+".join(map(re.escape, words))
        flags = re.NOFLAG if value.isalpha() else re.IGNORECASE
        for found in re.finditer(rf"(?<![^\W_]){pattern}(?![^\W_])", text, flags):
            yield Span(*found.span(), label)
