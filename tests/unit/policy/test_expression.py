"""What rules find in a request, and what they say it would have taken."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tests.policies import make_signals

from routewright.policy.conditions import Rule, TaskNames
from routewright.policy.expression import Finding, evaluate
from routewright.policy.keywords import SearchText
from routewright.policy.signals import Signals

TASKS = TaskNames()
RULE = TypeAdapter(Rule)


def found(rule: Any, signals: Signals) -> Finding:
    return evaluate(RULE.validate_python(rule), signals, TASKS)


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"domain": "math"}, True),
        ({"domain": ["law", "math"]}, True),
        ({"domain": {"labels": ["math"], "at_least": 0.9}}, False),
        ({"domain": "law"}, False),
        ({"intent": "calculation"}, True),
        ({"task": {"name": "intent", "labels": ["calculation"]}}, True),
        ({"jailbreak": True}, False),
        ({"jailbreak": 0.2}, True),
        ({"pii": "*"}, True),
        ({"pii": ["US_SSN", "PERSON"]}, True),
        ({"pii": "IBAN_CODE"}, False),
        ({"pii": {"types": ["PERSON"], "at_least": 0.95}}, False),
        ({"keyword": "prove that"}, True),
        ({"keyword": ["lemma", "theorem"]}, False),
        ({"keyword": {"words": ["prove", "lemma"], "match": "all"}}, False),
        ({"keyword": {"words": ["PROVE"], "case_sensitive": True}}, False),
        ({"text_length": {"at_most": 100}}, True),
        ({"text_length": {"at_least": 5, "unit": "tokens"}}, True),
        ({"header": "X-Tier"}, True),
        ({"header": {"name": "x-tier", "equals": "gold"}}, True),
        ({"header": {"name": "x-tier", "one_of": ["free", "silver"]}}, False),
        ({"not": {"domain": "law"}}, True),
        ({"all": [{"domain": "math"}, {"not": {"pii": "*"}}]}, False),
        ({"any": [{"domain": "law"}, {"keyword": "prove"}]}, True),
    ],
)
def test_each_condition_holds_where_it_should(rule: Any, holds: bool) -> None:
    signals = make_signals(
        "Prove  that 2 > 1",
        domain=("math", 0.8),
        intent=("calculation", 0.7),
        attack=0.3,
        types=["PERSON"],
        headers={"x-tier": "gold"},
        num_tokens=6,
    )
    finding = found(rule, signals)
    assert finding.holds is holds
    assert finding.fact
    assert (finding.needed == "") is holds
    assert not finding.matched or holds


def test_a_label_that_falls_short_says_by_how_much() -> None:
    rule = {"domain": {"labels": ["math"], "at_least": 0.6}}
    finding = found(rule, make_signals(domain=("math", 0.41)))
    assert finding.needed == "domain math needed >= 0.60, was 0.41"


def test_a_label_that_lost_names_the_winner() -> None:
    finding = found({"domain": "math"}, make_signals(domain=("law", 0.74)))
    assert finding.needed == (
        "domain math needed to be the most probable, was 0.02 (the most probable is law 0.74)"
    )


def test_what_is_lacking_follows_the_tree() -> None:
    rule = {
        "all": [
            {"any": [{"domain": "law"}, {"keyword": "contract"}]},
            {"not": {"header": "x-internal"}},
        ]
    }
    finding = found(rule, make_signals(headers={"x-internal": "1"}))
    assert finding.needed == (
        "either (domain law needed to be the most probable, was 0.01 (the most probable is "
        "other 0.90)) or (keyword contract needed, not in the text) and must not hold: header "
        "x-internal"
    )


@pytest.mark.parametrize("rule", [{"domain": "math"}, {"jailbreak": True}, {"pii": "*"}])
def test_a_task_without_an_answer_matches_nothing_and_says_why(rule: Any) -> None:
    finding = found(rule, Signals(text="x", failure="deadline exceeded"))
    assert not finding.holds
    assert "deadline exceeded" in finding.needed


def test_what_fired_is_named_by_kind() -> None:
    rule = {"any": [{"domain": "math"}, {"keyword": ["sum", "prime"]}]}
    signals = make_signals("a prime number", domain=("math", 0.9))
    assert found(rule, signals).matched == (("domain", "math"), ("keyword", "prime"))


@pytest.mark.parametrize(
    ("keyword", "text", "holds"),
    [
        ("art", "the heart of it", False),
        ("art", "art, and more", True),
        ("C++", "is C++ faster?", True),
        ("C++", "is objC++ faster?", False),
        ("prove that", "Prove\n that", True),
        ("定理", "请证明这个定理。", True),
        ("naïve", "a naïve idea", True),
        ("a.b", "axb", False),
    ],
)
def test_keywords_are_whole_words_in_every_script(keyword: str, text: str, holds: bool) -> None:
    assert SearchText(text).holds(keyword) is holds


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("what's", "what\u2019s up"),
        ("what\u2019s", "What's up"),
        ("caf\u00e9", "un cafe\u0301 noir"),
        ("cafe\u0301", "un caf\u00e9 noir"),
        ("straße", "HAUPTSTRASSE, STRASSE"),
        ("strasse", "eine Straße"),
        ("theorem", "a the\u200bo\u00adrem"),
        ("the\u200borem", "a theorem"),
        ("ΣΟΦΟΣ", "σοφος"),
        ("izmir", "İZMİR"),
        ("\u0131s\u0131", "ISI"),
    ],
)
def test_keywords_are_found_in_every_spelling(keyword: str, text: str) -> None:
    assert SearchText(text).holds(keyword)


@pytest.mark.parametrize(
    ("keyword", "text", "holds"),
    [
        ("कम", "उसमें कमी है", False),
        ("कम", "यह कम है", True),
        ("कमी", "एक कमीज़", False),
        ("कमी", "उसमें कमी है", True),
        ("cafe", "cafe\u0308\u0323", False),
        ("est", "q\u0303est", False),
        ("a a", "ba a a", True),
        ("กา", "กาแฟ", True),
        ("❤", "we ❤\ufe0f it", True),
    ],
)
def test_marks_belong_to_the_word_they_stand_on(keyword: str, text: str, holds: bool) -> None:
    assert SearchText(text).holds(keyword) is holds


def test_a_keyword_with_its_case_is_found_in_every_spelling_but_another_case() -> None:
    text = SearchText("Jose\u0301\u2019s")
    assert text.holds("Jos\u00e9's", case_sensitive=True)
    assert not text.holds("jos\u00e9's", case_sensitive=True)


@pytest.mark.parametrize("words", ["", " ", "\u200b", ["theorem", "\u00ad "]])
def test_a_keyword_of_which_nothing_can_be_seen_is_refused(words: Any) -> None:
    with pytest.raises(ValidationError, match="none may be blank"):
        RULE.validate_python({"keyword": words})


RULES = st.recursive(
    st.sampled_from(
        [{"domain": "math"}, {"keyword": "alpha"}, {"pii": "PERSON"}, {"header": "x-a"}]
    ),
    lambda inner: st.one_of(
        st.builds(lambda rules: {"all": rules}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda rules: {"any": rules}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda rule: {"not": rule}, inner),
    ),
    max_leaves=8,
)
SIGNALS = st.builds(
    lambda text, domain, types, headers: make_signals(
        text, domain=domain, types=types, headers=headers
    ),
    st.sampled_from(["", "alpha", "alphabet"]),
    st.sampled_from([("math", 0.9), ("law", 0.6)]),
    st.sampled_from([(), ("PERSON",)]),
    st.sampled_from([{}, {"x-a": "1"}]),
)


def truth(rule: dict[str, Any], signals: Signals) -> bool:
    """Another reading of the same rules, by the plainest means."""
    [(kind, value)] = rule.items()
    match kind:
        case "all":
            return all(truth(r, signals) for r in value)
        case "any":
            return any(truth(r, signals) for r in value)
        case "not":
            return not truth(value, signals)
        case "domain":
            return bool(signals.sequence["category"].label == value)
        case "keyword":
            return value in signals.text.split()
        case "pii":
            return value in [s.label for s in signals.spans["pii"]]
        case _:
            return value in signals.headers


@given(RULES, SIGNALS)
def test_trees_mean_what_logic_says(rule: dict[str, Any], signals: Signals) -> None:
    finding = found(rule, signals)
    assert finding.holds == truth(rule, signals)
    assert bool(finding.needed) == (not finding.holds)
