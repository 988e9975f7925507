"""Generated texts with personal data: exact spans, right checksums, all types, no cribbing."""

import builtins
import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.data.synth import pii_draw
from routewright.data.synth.grammar import Piece, Slot, load_templates
from routewright.data.synth.pii import (
    PLAIN_FILES,
    SENTENCE_FILE,
    PiiConfig,
    assemble,
    generate_pii,
    pii_templates,
)
from routewright.data.synth.pii_draw import Draw, build_pools, word_list
from routewright.data.synth.pii_noise import add_noise
from routewright.data.synth.pii_open import coined_name
from routewright.data.synth.pii_values import (
    BLOCK_SLOTS,
    ENTITY_SLOTS,
    PIECE_SLOTS,
    PLAIN_SLOTS,
    make_slot,
)
from routewright.errors import MissingExtraError
from routewright.labels import check_spans
from routewright.tasks import PII

ROWS = list(generate_pii(2500, seed=5))
POOLS = build_pools(0)

pieces = st.lists(
    st.builds(Piece, st.text(min_size=1), st.sampled_from([None, "PERSON", "GPE"])), min_size=1
)


def values(label: str) -> list[str]:
    return [r.text[s.start : s.end] for r in ROWS for s in r.spans if s.label == label]


def passes_luhn(digits: str) -> bool:
    total = 0
    for i, digit in enumerate(reversed(digits)):
        n = int(digit) * (1 + i % 2)
        total += n - 9 if n > 9 else n
    return total % 10 == 0


def test_spans_are_inside_the_text_sorted_apart_and_without_outer_space() -> None:
    for row in ROWS:
        assert check_spans(row.text, row.spans, PII.label_set) is None, row
        assert list(row.spans) == sorted(row.spans)
        for span in row.spans:
            value = row.text[span.start : span.end]
            assert value == value.strip()


def test_every_type_occurs_and_a_fifth_has_no_personal_data() -> None:
    counts = Counter(span.label for row in ROWS for span in row.spans)
    assert set(counts) == set(PII.labels)
    assert min(counts.values()) >= 30
    assert 0.15 < sum(not row.spans for row in ROWS) / len(ROWS) < 0.25


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    first, again = (list(generate_pii(60, seed=9)) for _ in range(2))
    assert first == again
    assert [r.text for r in first] != [r.text for r in generate_pii(60, seed=10)]


def test_two_generators_at_once_do_not_disturb_each_other() -> None:
    one, two = generate_pii(20, seed=9), generate_pii(20, seed=3)
    mixed = [(next(one), next(two)) for _ in range(20)]
    assert [a for a, _ in mixed] == list(generate_pii(20, seed=9))


def test_card_numbers_pass_the_luhn_check() -> None:
    full = [re.sub(r"[ -]", "", v) for v in values("CREDIT_CARD")]
    numbers = [v for v in full if v.isdigit() and len(v) > 4]
    assert len(numbers) > 30
    assert all(passes_luhn(v) for v in numbers)


def test_ibans_have_valid_check_digits() -> None:
    for value in values("IBAN_CODE"):
        compact = value.replace(" ", "").upper()
        digits = "".join(str(int(c, 36)) for c in compact[4:] + compact[:4])
        assert int(digits) % 97 == 1, value


def test_social_security_numbers_are_of_valid_areas() -> None:
    for value in values("US_SSN"):
        digits = re.sub(r"\D", "", value)
        assert len(digits) == 9
        assert digits[:3] not in {"000", "666"}
        assert digits[0] != "9"


def test_domains_are_marked_without_scheme_changes_and_without_paths() -> None:
    for value in values("DOMAIN_NAME"):
        assert re.fullmatch(r"(https?://)?[\w.-]+\.[a-z]{2,4}/?", value, re.IGNORECASE), value


def test_there_are_many_templates_and_each_has_its_own_id() -> None:
    templates = pii_templates()
    assert len(templates) >= 300
    assert len({t.id for t in templates}) == len(templates)


def test_every_slot_of_every_template_has_a_maker_and_every_maker_is_used() -> None:
    plain = [
        template
        for file in (*PLAIN_FILES, SENTENCE_FILE)
        for group in load_templates(file, "plain").values()
        for template in group
    ]
    used = {slot for t in [*pii_templates(), *plain] for slot in t.slots}
    known = {*ENTITY_SLOTS, *PLAIN_SLOTS, *BLOCK_SLOTS, *PIECE_SLOTS}
    assert used - known == set()
    assert known - used == set()
    assert all(slot in PLAIN_SLOTS for t in plain for slot in t.slots)


def test_the_acceptance_sentences_are_not_among_the_templates() -> None:
    forbidden = [
        r"my name is \S* and my email is \S*",
        r"please call me at \S*",
        r"the patient's social security number is \S*",
        r"contact( \S*){1,2}",
    ]
    for template in pii_templates():
        text = "".join(
            "_" if isinstance(p, Slot) else p if isinstance(p, str) else p.alternatives[0]
            for p in template.parts
        )
        plain = text.lower().strip(" .!")
        assert not any(re.fullmatch(pattern, plain) for pattern in forbidden), text


def test_business_names_that_look_like_people_are_organisations() -> None:
    draw = Draw(random.Random(1), POOLS)  # noqa: S311
    made = [make_slot(draw, "firm")[0] for _ in range(200)]
    assert {piece.label for piece in made} == {"ORGANIZATION"}
    assert any("& Sons" in piece.text for piece in made)


def test_a_name_may_be_one_that_no_list_has() -> None:
    pools = [*POOLS.extra_names, *(locale.names for locale in POOLS.locales)]
    known = {name for names in pools for name in names.first}
    draw = Draw(random.Random(1), POOLS)  # noqa: S311
    made = [make_slot(draw, "first")[0].text for _ in range(1000)]
    assert 0.05 < sum(name not in known for name in made) / len(made) < 0.11
    coined = {coined_name(draw) for _ in range(1000)}
    assert len(coined) > 800
    assert all(name.isalpha() and name.istitle() for name in coined)


def test_jobs_spoken_of_in_general_are_no_titles() -> None:
    jobs = set(word_list("jobs"))
    texts = [row.text for row in ROWS if str(row.meta["template_id"]).startswith("plain/open/")]
    assert texts
    assert any(job in text for text in texts for job in jobs)


def test_who_somebody_is_to_others_is_no_title_and_no_job_is_among_them() -> None:
    assert not set(word_list("parties")) & set(word_list("jobs"))
    draw = Draw(random.Random(3), POOLS)  # noqa: S311
    pieces = [make_slot(draw, slot)[0] for slot in ("party", "Party") for _ in range(100)]
    assert {piece.label for piece in pieces} == {None}


@pytest.mark.parametrize("slot", [slot for slot in ENTITY_SLOTS if slot.startswith("low_")])
def test_slots_of_chats_are_in_lower_case(slot: str) -> None:
    draw = Draw(random.Random(4), POOLS)  # noqa: S311
    made = [make_slot(draw, slot)[0].text for _ in range(200)]
    assert made == [text.lower() for text in made]


def test_a_name_may_be_two_names_or_two_words() -> None:
    draw = Draw(random.Random(6), POOLS)  # noqa: S311
    doubles = [make_slot(draw, "low_double")[0].text for _ in range(100)]
    assert all("-" in text for text in doubles)
    surnames = set(word_list("word_surnames"))
    full = [make_slot(draw, "all_word_name")[0].text for _ in range(100)]
    assert all(text.rsplit(" ", 1)[1] in surnames for text in full)


def test_the_same_number_words_are_ages_in_one_place_and_counts_in_another() -> None:
    draw = Draw(random.Random(7), POOLS)  # noqa: S311
    ages = [make_slot(draw, "age_words")[0] for _ in range(300)]
    counts = [make_slot(draw, "spelled")[0] for _ in range(300)]
    assert {piece.label for piece in ages} == {"AGE"}
    assert {piece.label for piece in counts} == {None}
    assert len({p.text for p in ages} & {p.text for p in counts}) > 20


@pytest.mark.parametrize("slot", [*ENTITY_SLOTS, *PLAIN_SLOTS, *BLOCK_SLOTS, *PIECE_SLOTS])
def test_a_slot_is_never_empty(slot: str) -> None:
    draw = Draw(random.Random(2), POOLS)  # noqa: S311
    assert all("".join(p.text for p in make_slot(draw, slot)) for _ in range(25))


@given(pieces, st.integers())
def test_noise_keeps_spans_exact(original: list[Piece], seed: int) -> None:
    text, spans = assemble(add_noise(original, random.Random(seed)))  # noqa: S311
    assert check_spans(text, spans) is None


@given(pieces, st.integers())
def test_noise_changes_at_most_the_case_of_an_entity(original: list[Piece], seed: int) -> None:
    noisy = add_noise(original, random.Random(seed))  # noqa: S311
    for before, after in zip(
        [p for p in original if p.label], [p for p in noisy if p.label], strict=True
    ):
        assert after.text in {before.text, before.text.lower(), before.text.upper()}


def labels_of(slot: str, count: int = 200) -> list[tuple[str | None, ...]]:
    draw = Draw(random.Random(3), POOLS)  # noqa: S311
    made = (make_slot(draw, slot) for _ in range(count))
    return [tuple(p.label for p in pieces if p.text.strip()) for pieces in made]


def test_an_address_in_running_text_is_one_span() -> None:
    assert set(labels_of("address")) == {("STREET_ADDRESS",)}
    draw = Draw(random.Random(4), POOLS)  # noqa: S311
    assert any("\n" in make_slot(draw, "address")[0].text for _ in range(20))


def test_an_address_in_fields_has_a_span_for_each_part() -> None:
    for labels in labels_of("block"):
        parts = [label for label in labels if label]
        assert parts[0] == "STREET_ADDRESS"
        assert parts.count("GPE") == 2 or parts[-1] == "GPE"
        assert parts[-1] in {"GPE", "STREET_ADDRESS", "ZIP_CODE"}


def test_people_who_indent_by_hand_do_not_always_hit_the_margin() -> None:
    draw = Draw(random.Random(4), POOLS)  # noqa: S311
    lines = [
        line
        for _ in range(50)
        for line in "".join(p.text for p in make_slot(draw, "block_deep")).splitlines()[1:]
        if line
    ]
    margins = [len(line) - len(line.lstrip()) for line in lines]
    assert min(margins) == 4
    assert 5 <= max(margins) <= 8
    quoted = "".join(p.text for p in make_slot(draw, "block_quoted"))
    assert all(line.startswith("> ") for line in quoted.splitlines()[1:])


def test_a_kind_of_street_behind_a_street_name_is_outside() -> None:
    assert set(labels_of("road")) == {("STREET_ADDRESS", None)}


def test_without_noise_and_plain_texts_every_row_has_an_entity() -> None:
    config = PiiConfig(plain_share=0, noise=False)
    assert all(row.spans for row in generate_pii(200, seed=1, config=config))


def test_a_share_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="plain_share"):
        PiiConfig(plain_share=1.5)
    with pytest.raises(ValueError, match="context_share"):
        PiiConfig(context_share=1)


def test_without_faker_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def no_faker(name: str, *args: Any) -> Any:
        if name == "faker":
            raise ImportError(name)
        return real_import(name, *args)

    pii_draw._faker.cache_clear()
    build_pools.cache_clear()
    monkeypatch.setattr(builtins, "__import__", no_faker)
    with pytest.raises(MissingExtraError, match=r"routewright\[train\]"):
        next(generate_pii(1, seed=0))
