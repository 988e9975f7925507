"""Does the jailbreak head tell attacks from their harmless twins, and hold under small changes?

    python -m benchmarks.default_bundle.twins --bundle BUNDLE --split test --readme

The pairs in twin_pairs/ were written by hand for this project by a writer who saw neither
generators nor data: an attack, and a harmless text as near to it as possible in words, length
and layout. Then attacks that are caught, and twins that pass, are changed in ways that change
nothing about what they are. One half is for looking at mistakes (``validation``), one is only
scored (``test``). Intervals are 95 % percentile bootstrap over pairs (1,000 resamples).

That a few appended words turn a verdict is a defect of the original router:
https://github.com/vllm-project/semantic-router/issues/3174
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from benchmarks.default_bundle.records import (
    HERE,
    SPLITS,
    Record,
    interval,
    markdown,
    new_parser,
)

from routewright import Classifier
from routewright.metrics import Estimate

ROWS = HERE / "twin_pairs"
NUM_RESAMPLES = 1000
SEED = 7
NUM_ENDINGS = 10
_WORDS = (
    *("table", "window", "seven", "perhaps", "green", "river", "quickly", "often", "paper"),
    *("bread", "march", "upstairs", "later", "blue", "garden", "coffee", "again", "north"),
)
_SENTENCES = (
    "The museum closes at six on Thursdays.",
    "Our bus was late because of road works.",
    "Tomatoes need a lot of water in July.",
    "I liked the second half of the concert better.",
)


@dataclass(frozen=True)
class Pair:
    """An attack and its twin."""

    id: str
    kind: str
    attack: str
    benign: str


@dataclass
class Change:
    """What a change of form does to verdicts that were right."""

    name: str
    num_caught: int
    """Attacks that are caught as they stand."""
    lost: float
    """Share of their changed forms that pass."""
    ever_lost: float
    """Share of these attacks of which at least one changed form passes."""
    num_passed: int
    """Twins that pass as they stand."""
    flagged: float
    """Share of their changed forms that are flagged."""


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file, one a line."""
    return [Pair(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def flags(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    """Whether each text is flagged at the bundle's threshold, ``(N,)``."""
    answers = classifier(list(texts), tasks=["jailbreak"])
    return np.array([bool(a.sequence["jailbreak"].flagged) for a in answers])


def appended(text: str, rng: random.Random) -> str:
    """Three words behind it."""
    return f"{text} {' '.join(rng.sample(_WORDS, 3))}"


def misspelt(text: str, rng: random.Random) -> str:
    """Every twentieth pair of neighbouring letters swapped, at random."""
    letters = list(text)
    for i in range(len(letters) - 1):
        if letters[i].isalpha() and letters[i + 1].isalpha() and rng.random() < 0.05:
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


CHANGES: Mapping[str, Callable[[str, random.Random], str]] = {
    "three words appended": appended,
    "a sentence appended": lambda text, rng: f"{text} {rng.choice(_SENTENCES)}",
    "a sentence in front": lambda text, rng: f"{rng.choice(_SENTENCES)} {text}",
    "misspelt": misspelt,
    "lower case": lambda text, _: text.lower(),
    "capitals": lambda text, _: text.upper(),
    "behind 60 harmless sentences": lambda text, rng: (
        " ".join(rng.choices(_SENTENCES, k=60)) + "\n\n" + text
    ),
}


def changed(
    classifier: Classifier, name: str, attacks: Sequence[str], twins: Sequence[str]
) -> Change:
    """What the change `name` does to `attacks` that are caught and `twins` that pass."""
    rng = random.Random(SEED)  # noqa: S311 - a measurement, no secret
    change = CHANGES[name]
    num = NUM_ENDINGS if name == "three words appended" else 1
    forms = [change(text, rng) for text in [*attacks, *twins] for _ in range(num)]
    flagged = flags(classifier, forms).reshape(-1, num)
    caught = flagged[: len(attacks)]
    return Change(
        name=name,
        num_caught=len(attacks),
        lost=float(1 - caught.mean()),
        ever_lost=float(1 - caught.all(axis=1).mean()),
        num_passed=len(twins),
        flagged=float(flagged[len(attacks) :].mean()),
    )


def _share(right: np.ndarray) -> Estimate:
    rng = np.random.default_rng(SEED)
    means = right[rng.integers(0, len(right), (NUM_RESAMPLES, len(right)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(right.mean()), float(low), float(high))


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    args = parser.parse_args()
    record = Record("twins", (__doc__ or "").splitlines()[0], args, perf_counter())
    classifier = Classifier.open(args.bundle)
    pairs = read_pairs(ROWS / f"{args.split}.jsonl")
    caught = flags(classifier, [p.attack for p in pairs])
    flagged = flags(classifier, [p.benign for p in pairs])
    shares = {
        "attacks caught": _share(caught),
        "twins flagged": _share(flagged),
        "pairs with both right": _share(caught & ~flagged),
    }
    kinds: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for pair, hit, alarm in zip(pairs, caught, flagged, strict=True):
        kinds[pair.kind].append((bool(hit), bool(alarm)))
    attacks = [p.attack for p, hit in zip(pairs, caught, strict=True) if hit]
    twins = [p.benign for p, alarm in zip(pairs, flagged, strict=True) if not alarm]
    changes = [changed(classifier, name, attacks, twins) for name in CHANGES]
    by_kind = {
        kind: {
            "pairs": len(verdicts),
            "caught": sum(hit for hit, _ in verdicts),
            "flagged": sum(alarm for _, alarm in verdicts),
        }
        for kind, verdicts in sorted(kinds.items())
    }
    found = {
        "num_pairs": len(pairs),
        "shares": {name: asdict(value) for name, value in shares.items()},
        "by_kind": by_kind,
        "changes": [asdict(change) for change in changes],
    }
    record.write(found, tables(shares, by_kind, changes, len(pairs)))


def tables(
    shares: Mapping[str, Estimate],
    by_kind: Mapping[str, Mapping[str, int]],
    changes: Sequence[Change],
    num_pairs: int,
) -> str:
    """Shares of all pairs, then by kind, then what changes of form do."""
    rows = [[name, interval(value, 3), str(num_pairs)] for name, value in shares.items()]
    kinds = [
        [kind, f"{n['caught']} of {n['pairs']}", f"{n['flagged']} of {n['pairs']}"]
        for kind, n in by_kind.items()
    ]
    forms = [
        [
            c.name,
            f"{c.lost:.3f} ({c.ever_lost:.3f})",
            str(c.num_caught),
            f"{c.flagged:.3f}",
            str(c.num_passed),
        ]
        for c in changes
    ]
    return (
        markdown(("what", "share (95 % interval)", "pairs"), rows, left=1)
        + "\n"
        + markdown(("kind", "attacks caught", "twins flagged"), kinds, left=1)
        + "\nOf attacks that are caught, the share of changed forms that pass (of attacks with"
        " one such form); of twins that pass, the share of changed forms that are flagged:\n\n"
        + markdown(
            ("change", "attacks that pass", "attacks", "twins flagged", "twins"), forms, left=1
        )
    )


if __name__ == "__main__":
    main()
