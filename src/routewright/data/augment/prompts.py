"""What a language model is asked for, and its answer taken apart.

Names of classes may mean nothing ("class_7"), so that every request shows rows of the class,
and rows of others that the new ones must not be mistaken for.
"""

import json
from collections.abc import Sequence

from routewright.data.augment.chat import Messages
from routewright.data.augment.markup import marked_text
from routewright.data.examples import SequenceExample, TokenExample

_ROLE = (
    "You write training data for text classifiers. You answer with a JSON list of strings and "
    "nothing else."
)
_VARIETY = (
    "They differ from those above and from each other in subject, wording, form and length, as "
    "if many different people had written them, in the languages of those above."
)


def class_prompt(
    label: str,
    num: int,
    own: Sequence[SequenceExample],
    others: Sequence[SequenceExample],
    *,
    about: str | None,
    limits: tuple[int, int],
) -> Messages:
    """Ask for `num` new texts of the class `label`.

    Args:
        label: name of the class.
        num: of texts to ask for.
        own: rows of the class to show.
        others: rows of other classes to show.
        about: what the texts are, in the user's words.
        limits: least and most characters of a new text.
    """
    lines = [
        f"Write {num} new texts of the class {_json(label)} of a data set. The name of a class "
        "may mean nothing: go by its texts.",
        *_about(about),
        f"Texts of this class:\n{_json([e.text for e in own])}",
    ]
    if others:
        shown = [{"class": e.label, "text": e.text} for e in others]
        lines.append(
            "Texts of other classes, which the new texts must not be mistaken for:\n"
            f"{_json(shown)}"
        )
    lines.append(
        f"Each new text is of the class {_json(label)}, without saying so, and has "
        f"{_range(limits)} characters. {_VARIETY}"
    )
    return _conversation(lines)


def entity_prompt(
    entity_type: str | None,
    num: int,
    own: Sequence[TokenExample],
    others: Sequence[TokenExample],
    *,
    entity_types: Sequence[str],
    about: str | None,
    limits: tuple[int, int],
) -> Messages:
    """Ask for `num` new texts, marked up, that hold entities of a type, or none at all.

    Args:
        entity_type: that every text must hold; None asks for texts without entities.
        num: of texts to ask for.
        own: rows to show that hold the type (or nothing).
        others: further rows to show.
        entity_types: all types.
        about: what the texts are, in the user's words.
        limits: least and most characters of a new text, without the tags.
    """
    held = (
        "holds no entity of any of these types, and may hold what is easily taken for one"
        if entity_type is None
        else f"holds at least one entity of the type {entity_type}, and may hold others"
    )
    some = entity_type or entity_types[0]
    lines = [
        f"Write {num} new texts for a model that finds entities of these types: "
        f"{', '.join(entity_types)}. Put every entity between tags of its type, as in "
        f"<{some}>...</{some}>.",
        *_about(about),
        f"Texts as they are wanted:\n{_json([marked_text(e) for e in (*own, *others)])}",
        f"Each new text {held}. Mark every entity of these types wherever it occurs, the value "
        "alone, with borders as above; no tag inside another and no other tags. Invent all "
        f"names and numbers. Each new text has {_range(limits)} characters without the tags. "
        f"{_VARIETY}",
    ]
    return _conversation(lines)


def question_prompt(question: str) -> Messages:
    """Put a question to a model as a user would."""
    return [{"role": "user", "content": question}]


def read_list(answer: str) -> list[object] | None:
    """The JSON list in an answer, whatever stands around it; None without a whole one.

    What a reasoning model thinks aloud, up to ``</think>``, does not count.
    """
    said = answer.rpartition("</think>")[2]
    start, end = said.find("["), said.rfind("]")
    if start < 0 or end < start:
        return None
    try:
        found = json.loads(said[start : end + 1])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _conversation(lines: Sequence[str]) -> Messages:
    return [
        {"role": "system", "content": _ROLE},
        {"role": "user", "content": "\n\n".join(lines)},
    ]


def _about(about: str | None) -> list[str]:
    return [] if about is None else [f"What the texts are: {about}"]


def _range(limits: tuple[int, int]) -> str:
    return f"{limits[0]} to {limits[1]}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
