"""Train, validation and test splits that share no text, no near duplicate and no group.

Duplicates go first, then near duplicates and groups (templates) are joined into components, and
whole components are dealt out so that every label keeps its share. The same seed and the same
examples give the same split.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from routewright.data.examples import Example, SequenceExample, normalise
from routewright.data.near_duplicates import DisjointSets, cluster_near_duplicates
from routewright.data.selection import strata_of
from routewright.errors import ConfigError, DataError

NearDuplicates = Literal["together", "drop", "ignore"]
SPLIT_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitReport:
    """What was removed, what was kept together, and what came out."""

    num_examples: int
    """Given, before anything was removed."""
    num_exact_duplicates: int
    """Removed repetitions of a normalised text with the same label."""
    num_conflicting: int
    """Removed examples whose normalised text occurs with different labels: all of them."""
    num_near_duplicates: int
    """Examples that are near duplicates of an earlier one; see `near_duplicates`."""
    near_duplicates: NearDuplicates
    """What was done about them."""
    num_components: int
    """Sets of examples that may not be torn apart; a single example counts as one."""
    largest_component: int
    """Examples in the largest of them."""
    sizes: dict[str, int]
    """Examples of each split."""
    strata: dict[str, dict[str, int]]
    """Examples of each label (or rarest entity type) in each split."""


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of a data set, each in the order of the data."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    report: SplitReport


def split_examples(
    examples: Sequence[Example],
    *,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    group_by: str | None = None,
    seed: int,
    near_duplicates: NearDuplicates = "together",
) -> Split:
    """Deal the examples out to train, validation and test.

    Args:
        examples: of one data set.
        fractions: shares of train, validation and test that sum to 1; 0 leaves a part empty.
        group_by: meta column whose equal values stay in one part, for example
            ``template_id``; examples without a value, or with an empty one, are free.
        seed: of the order in which components are dealt out.
        near_duplicates: kept in one part, dropped but for the first, or not looked for.

    Raises:
        ConfigError: fractions that do not sum to 1.
        DataError: no example has the group column, or nothing is left to split.
    """
    _check_fractions(fractions)
    kept, num_exact, num_conflicting = remove_duplicates(examples)
    if not kept:
        raise DataError("no examples are left to split after removing duplicates")
    clusters = list(range(len(kept)))
    if near_duplicates != "ignore":
        clusters = cluster_near_duplicates([e.text for e in kept])
    num_near = len(kept) - len(set(clusters))
    if near_duplicates == "drop":
        kept = [e for i, e in enumerate(kept) if clusters[i] == i]
        clusters = list(range(len(kept)))
    components = _components(kept, clusters, group_by)
    assigned = _deal(components, strata_of(kept), fractions, seed)
    parts = [[kept[i] for i in sorted(part)] for part in assigned]
    report = SplitReport(
        num_examples=len(examples),
        num_exact_duplicates=num_exact,
        num_conflicting=num_conflicting,
        num_near_duplicates=num_near,
        near_duplicates=near_duplicates,
        num_components=len(components),
        largest_component=max(map(len, components)),
        sizes={n: len(part) for n, part in zip(SPLIT_NAMES, parts, strict=True)},
        strata={
            name: dict(sorted(Counter(strata_of(part)).items()))
            for name, part in zip(SPLIT_NAMES, parts, strict=True)
        },
    )
    return Split(parts[0], parts[1], parts[2], report)


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    # Not the other way round: every comparison with nan is false.
    if not (len(fractions) == 3 and min(fractions) >= 0 and abs(sum(fractions) - 1) <= 1e-6):
        raise ConfigError(
            f"fractions {fractions}: needs three shares >= 0 that sum to 1, for example "
            "0.8,0.1,0.1"
        )


def remove_duplicates(examples: Sequence[Example]) -> tuple[list[Example], int, int]:
    """First of each group of equal normalised texts; texts with two labels go altogether.

    Returns:
        What is left, the number of removed repetitions, and of removed conflicting examples.
    """
    by_text: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_text[normalise(example.text)].append(example)
    kept: list[Example] = []
    num_exact = num_conflicting = 0
    for same in by_text.values():
        if len({annotation_of(example) for example in same}) > 1:
            num_conflicting += len(same)
        else:
            kept.append(same[0])
            num_exact += len(same) - 1
    return kept, num_exact, num_conflicting


def annotation_of(example: Example) -> tuple[tuple[str, str], ...]:
    """What two examples of the same text must agree in; blind to white space and case."""
    if isinstance(example, SequenceExample):
        return ((example.label, ""),)
    return tuple((s.label, normalise(example.text[s.start : s.end])) for s in example.spans)


def _components(
    examples: Sequence[Example], clusters: Sequence[int], group_by: str | None
) -> list[list[int]]:
    """Indices of examples that must stay together, by first index."""
    sets = DisjointSets(len(examples))
    first_of: dict[str, int] = {}
    for i, example in enumerate(examples):
        sets.union(clusters[i], i)
        group = example.meta.get(group_by) if group_by is not None else None
        if group not in (None, ""):  # CSV has no other way to write none
            sets.union(first_of.setdefault(str(group), i), i)
    if group_by is not None and not first_of:
        known = sorted({column for example in examples for column in example.meta})
        raise DataError(
            f"no row has a value in column {group_by!r} to group by; known columns: "
            f"{', '.join(known) or 'none'}"
        )
    members: dict[int, list[int]] = defaultdict(list)
    for i, root in enumerate(sets.roots()):
        members[root].append(i)
    return list(members.values())


def _deal(
    components: list[list[int]],
    strata: Sequence[str],
    fractions: tuple[float, float, float],
    seed: int,
) -> list[list[int]]:
    """Give each component to the part that lacks its rarest label most.

    The lack of a part in a label is what its share of the label amounts to, less what it has.
    Rare labels are dealt out first, while common ones can still make up for their sizes;
    components that alone would fill half a part come before all. The last components of a label
    go to parts that have none of it, so that a label with three components is in every part.

    Source: Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data",
    https://doi.org/10.1007/978-3-642-23808-6_10, applied to components.
    """
    rng = random.Random(seed)  # noqa: S311 - a split, not a secret
    totals = Counter(strata)
    lack = [{s: f * n for s, n in totals.items()} for f in fractions]
    room = [f * len(strata) for f in fractions]
    parts: list[list[int]] = [[], [], []]
    allowed = [i for i, fraction in enumerate(fractions) if fraction > 0]
    large = min(room[i] for i in allowed) / 2
    rarest = {
        id(c): min((strata[i] for i in c), key=lambda s: (totals[s], s)) for c in components
    }
    waiting = Counter(rarest.values())
    order = list(components)
    rng.shuffle(order)
    order.sort(key=lambda c: (-len(c) if len(c) > large else 0, totals[rarest[id(c)]]))
    for component in order:
        stratum = rarest[id(component)]
        bare = [i for i in allowed if lack[i][stratum] == fractions[i] * totals[stratum]]
        choice = bare if waiting[stratum] <= len(bare) else allowed
        waiting[stratum] -= 1
        preference = rng.sample(choice, len(choice))  # breaks ties without a bias
        best = max(preference, key=lambda i, s=stratum: (lack[i][s], room[i]))  # type: ignore[misc]
        parts[best].extend(component)
        room[best] -= len(component)
        for i in component:
            lack[best][strata[i]] -= 1
    return parts
