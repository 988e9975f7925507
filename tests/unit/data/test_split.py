"""Duplicates, near duplicates, splits and leaks."""

# ruff: noqa: S311 - random texts, not secrets

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.data import near_duplicates
from routewright.data.examples import Example, SequenceExample, TokenExample, normalise
from routewright.data.leaks import check_leaks
from routewright.data.near_duplicates import (
    DisjointSets,
    cluster_near_duplicates,
    jaccard,
    minhash_signatures,
)
from routewright.data.split import remove_duplicates, split_examples
from routewright.data.statistics import describe
from routewright.errors import ConfigError, DataError, LeakError
from routewright.labels import Span


def words(rng: random.Random, num: int) -> str:
    return " ".join("".join(rng.choices("abcdefghijklmno", k=6)) for _ in range(num))


def with_new_words(rng: random.Random, text: str, num: int) -> str:
    changed = text.split()
    for place in rng.sample(range(len(changed)), num):
        changed[place] = words(rng, 1)
    return " ".join(changed)


def some_examples(num: int, seed: int = 0) -> list[Example]:
    rng = random.Random(seed)
    return [
        SequenceExample(words(rng, 12), "abbccc"[i % 6], {"template": i // 3, "row": i})
        for i in range(num)
    ]


def test_jaccard_is_the_share_of_common_five_grams() -> None:
    assert jaccard("abcdef", "abcdef") == 1
    assert jaccard("abcdef", "bcdefg") == pytest.approx(1 / 3)  # bcdef of abcde bcdef cdefg
    assert jaccard("abcdef", "uvwxyz") == 0
    assert jaccard("ab", "ab") == 1


def test_minhash_estimates_jaccard() -> None:
    rng = random.Random(3)
    base = words(rng, 60)
    pairs = [(base, base[:cut] + words(rng, 5) + base[cut:]) for cut in range(0, 400, 40)]
    for first, second in pairs:
        a, b = minhash_signatures([first, second])
        assert (a == b).mean() == pytest.approx(jaccard(first, second), abs=0.15)


@given(st.lists(st.text(max_size=40), max_size=12))
def test_clusters_hold_equal_texts_and_point_at_their_first(texts: list[str]) -> None:
    clusters = cluster_near_duplicates(texts)
    first: dict[str, int] = {}
    for i, text in enumerate(texts):
        assert clusters[i] <= i
        assert clusters[clusters[i]] == clusters[i]
        assert clusters[i] == clusters[first.setdefault(normalise(text), i)]


def test_near_duplicates_are_found_and_far_texts_are_not() -> None:
    rng = random.Random(1)
    base = [words(rng, 40) for _ in range(300)]
    near = [text[:100] + "xyz" + text[100:] for text in base]
    clusters = cluster_near_duplicates(base + near)
    assert clusters == [*range(300), *range(300)]
    half = [text[:140] + words(rng, 20) for text in base]
    assert cluster_near_duplicates(base + half) == list(range(600))


def test_clusters_chain_as_if_every_pair_had_been_compared() -> None:
    rng = random.Random(0)
    texts = []
    for _ in range(6):
        texts.append(words(rng, 40))
        for _ in range(9):
            texts.append(with_new_words(rng, texts[-1], rng.randint(1, 4)))
    rng.shuffle(texts)
    sets = DisjointSets(len(texts))
    for second, first in itertools.combinations(range(len(texts)), 2):
        if jaccard(texts[first], texts[second]) >= 0.8:
            sets.union(first, second)
    assert cluster_near_duplicates(texts) == sets.roots()


def test_no_two_texts_are_verified_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = Counter[frozenset[str]]()

    def counted(first: str, second: str) -> float:
        verified[frozenset((first, second))] += 1
        return jaccard(first, second)

    monkeypatch.setattr(near_duplicates, "jaccard", counted)
    rng = random.Random(0)
    base = words(rng, 60)
    just_too_far = [with_new_words(rng, base, 4) for _ in range(40)]
    cluster_near_duplicates(just_too_far)
    assert max(verified.values()) == 1
    verified.clear()
    near_equal = [with_new_words(rng, base, 1) for _ in range(200)]
    assert set(cluster_near_duplicates(near_equal)) == {0}
    assert verified.total() == 199


def test_disjoint_sets_root_at_the_smallest_member() -> None:
    sets = DisjointSets(5)
    sets.union(4, 2)
    sets.union(2, 3)
    assert sets.roots() == [0, 1, 2, 2, 2]


def test_repetitions_go_and_conflicting_labels_go_altogether() -> None:
    examples: list[Example] = [
        SequenceExample("One  text", "a"),
        SequenceExample("one text", "a"),
        SequenceExample("torn", "a"),
        SequenceExample("TORN", "b"),
        TokenExample("Ada  here", (Span(0, 3, "P"),)),
        TokenExample("ada here", (Span(0, 3, "P"),)),
        TokenExample("Bob", (Span(0, 3, "P"),)),
        TokenExample("bob", ()),
    ]
    kept, num_exact, num_conflicting = remove_duplicates(examples)
    assert kept == [examples[0], examples[4]]
    assert (num_exact, num_conflicting) == (2, 4)


def test_a_split_keeps_label_shares_and_takes_every_example_once() -> None:
    examples = some_examples(600)
    split = split_examples(examples, seed=1)
    parts = (split.train, split.validation, split.test)
    assert [len(part) for part in parts] == [480, 60, 60]
    for part, total in zip(parts, (480, 60, 60), strict=True):
        counts = Counter(e.label for e in part if isinstance(e, SequenceExample))
        assert counts == {"a": total / 6, "b": total / 3, "c": total / 2}
    rows = [e.meta["row"] for part in parts for e in part]
    assert sorted(rows) == list(range(600))  # type: ignore[type-var]
    assert split.report.sizes == {"train": 480, "validation": 60, "test": 60}


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    examples = some_examples(200)
    assert split_examples(examples, seed=1) == split_examples(examples, seed=1)
    assert split_examples(examples, seed=1).test != split_examples(examples, seed=2).test


def test_groups_stay_together_and_shares_hold_roughly() -> None:
    split = split_examples(some_examples(600), group_by="template", seed=1)
    groups = [
        {e.meta["template"] for e in part}
        for part in (split.train, split.validation, split.test)
    ]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert split.report.num_components == 200
    assert abs(split.report.sizes["test"] - 60) <= 6


@pytest.mark.parametrize("blank", [None, ""])
def test_examples_without_a_group_are_free(blank: str | None) -> None:
    rng = random.Random(0)
    examples: list[Example] = [
        SequenceExample(words(rng, 12), "a", {"author": "ann" if i < 4 else blank})
        for i in range(40)
    ]
    report = split_examples(examples, group_by="author", seed=0).report
    assert (report.num_components, report.largest_component) == (37, 4)
    with pytest.raises(DataError, match="no row has a value in column 'author' to group by"):
        split_examples(examples[4:], group_by="author", seed=0)


def test_near_duplicates_stay_together_or_are_dropped() -> None:
    rng = random.Random(5)
    base = [words(rng, 30) for _ in range(100)]
    examples: list[Example] = [
        SequenceExample(text + end, "ab"[i % 2], {"base": i})
        for i, text in enumerate(base)
        for end in ("", " x", " y")
    ]
    together = split_examples(examples, seed=0)
    bases = [{e.meta["base"] for e in p} for p in (together.train, together.test)]
    assert not bases[0] & bases[1]
    assert together.report.num_near_duplicates == 200
    dropped = split_examples(examples, seed=0, near_duplicates="drop")
    assert sum(dropped.report.sizes.values()) == 100
    ignored = split_examples(examples, seed=0, near_duplicates="ignore")
    assert {e.meta["base"] for e in ignored.train} & {e.meta["base"] for e in ignored.test}


def test_token_examples_are_stratified_by_their_rarest_type() -> None:
    rng = random.Random(2)
    examples: list[Example] = []
    for i in range(400):
        labels = ("P", "R") if i % 10 == 0 else ("P",)
        spans = tuple(Span(7 * j, 7 * j + 6, label) for j, label in enumerate(labels))
        examples.append(TokenExample(words(rng, 15), spans))
    split = split_examples(examples, seed=0)
    assert split.report.strata["test"] == {"P": 36, "R": 4}


def test_a_part_of_size_zero_stays_empty() -> None:
    split = split_examples(some_examples(100), fractions=(0.9, 0.1, 0.0), seed=0)
    assert split.test == []
    assert split.report.sizes == {"train": 90, "validation": 10, "test": 0}


def test_impossible_splits_say_why() -> None:
    examples = some_examples(10)
    with pytest.raises(ConfigError, match="three shares >= 0 that sum to 1"):
        split_examples(examples, fractions=(0.5, 0.1, 0.1), seed=0)
    with pytest.raises(DataError, match=r"no row has a value in column 'tmpl' to .*: row"):
        split_examples(examples, group_by="tmpl", seed=0)
    with pytest.raises(DataError, match="no examples are left to split"):
        split_examples([], seed=0)


def test_a_leak_is_refused_without_showing_the_text() -> None:
    train: list[Example] = [SequenceExample("Secret  PROMPT text", "a")]
    test: list[Example] = [
        SequenceExample("new", "a"),
        SequenceExample("secret prompt text", "a"),
    ]
    with pytest.raises(LeakError) as caught:
        check_leaks(train, test, name="tasks.x.test")
    message = str(caught.value)
    assert message.startswith("tasks.x.test: 1 of 2 texts are also in the training data")
    assert "first example 2 (sha256" in message
    assert "secret" not in message.lower()


def test_near_duplicates_across_are_a_warning_value() -> None:
    rng = random.Random(9)
    text = words(rng, 40)
    train: list[Example] = [SequenceExample(text, "a")]
    test: list[Example] = [SequenceExample(text + " end", "a"), SequenceExample("far", "a")]
    report = check_leaks(train, test, name="t")
    assert (report.num_train, report.num_test, report.num_near_duplicates) == (1, 2, 1)
    assert check_leaks(train, test, name="t", near_duplicates=False).num_near_duplicates == 0


def test_statistics_count_labels_lengths_and_repetitions() -> None:
    examples: list[Example] = [
        SequenceExample("one two", "a", {"source": "x"}),
        SequenceExample("One two", "a", {"source": "x", "quality": "q"}),
        SequenceExample("three", "b"),
    ]
    found = describe(examples)
    assert found.labels == {"a": 2, "b": 1}
    assert found.sources == {"x": 2, "(not stated)": 1}
    assert found.columns == {"source": 2, "quality": 1}
    assert (found.num_exact_duplicates, found.num_conflicting, found.num_empty) == (1, 0, 0)
    assert found.characters["p100"] == 7
    assert (found.words["p5"], found.words["p100"]) == (1, 2)
    tokens = describe([TokenExample("Ada", (Span(0, 3, "P"),)), TokenExample("none", ())])
    assert (tokens.labels, tokens.num_without_spans) == ({"P": 1}, 1)
    assert describe([]).characters["p50"] == 0


def test_a_label_with_three_groups_is_in_every_part() -> None:
    rng = random.Random(4)
    examples: list[Example] = [
        SequenceExample(words(rng, 12), "rare" if i < 30 else "usual", {"template": i // 10})
        for i in range(600)
    ]
    for seed in range(5):
        strata = split_examples(examples, group_by="template", seed=seed).report.strata
        assert [strata[part]["rare"] for part in strata] == [10, 10, 10]
