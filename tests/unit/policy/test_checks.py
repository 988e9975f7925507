"""Cross-checks: names that stand for nothing, a bundle's labels, rules that cannot fire."""

from typing import Any

import pytest
from tests.policies import GUARDS, MODELS, decision, make_policy

from routewright.errors import ConfigError
from routewright.policy.checks import check_labels, check_policy
from routewright.tasks import BUILT_IN

TOOL = {"name": "calculator", "description": "x", "intents": ["calculation"]}


@pytest.mark.parametrize(
    ("decisions", "settings", "message"),
    [
        ([decision("a"), decision("a")], {}, "f: decisions: decision 'a' occurs twice"),
        (
            [decision("a", models=["larg"])],
            {},
            "decisions.0.models: .*'larg'; did you mean 'lar",
        ),
        (
            [],
            {"default_model": "tiny"},
            "default_model: there is no model 'tiny'; known: small",
        ),
        ([], {"abstention": {"model": "x"}}, "abstention.model: there is no model 'x'"),
        ([decision("a", only_tools=["calc"])], {}, "decisions.0.only_tools: there is no tool"),
        ([], {"tools": {"catalogue": [TOOL, TOOL]}}, "tool 'calculator' occurs twice"),
        (
            [],
            {"models": {**MODELS, "small": {**MODELS["small"], "reasoning_family": "qwen"}}},
            "models.small.reasoning_family: .*did you mean 'qwen3'",
        ),
        ([], {"auto_models": ["small"]}, "models.small: is also one of auto_models"),
        ([decision("a", models=["large", "large"])], {}, "model 'large' occurs twice"),
    ],
)
def test_names_that_stand_for_nothing_or_twice_are_refused(
    decisions: list[Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_policy(make_policy(*decisions, **settings), source="f")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            {"domain": "maths"},
            "f: decisions.0.rules: .* category label 'maths'; did you mean 'ma",
        ),
        ({"intent": "law"}, "there is no intent label 'law'; known: information_retrieval"),
        ({"pii": "EMAIL"}, "there is no pii type 'EMAIL'; did you mean 'EMAIL_ADDRESS'"),
        (
            {"not": {"task": {"name": "t", "labels": ["x"]}}},
            "the bundle has no task 't', it has",
        ),
        ({"task": {"name": "pii", "labels": ["x"]}}, "has entity types, not labels; use pii:"),
    ],
)
def test_labels_are_compared_with_those_of_the_bundle(rules: Any, message: str) -> None:
    policy = make_policy(decision("a", rules))
    check_policy(policy, source="f")
    with pytest.raises(ConfigError, match=message):
        check_labels(policy, BUILT_IN, source="f")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guards": {"pii": {"types": {"SSN": "block"}}}}, "guards.pii.types: .*'SSN'"),
        ({"guards": GUARDS, "tasks": {"jailbreak": "intent"}}, "has no positive label"),
        ({"guards": GUARDS, "tasks": {"pii": "intent"}}, "finds no entities"),
        ({"abstention": {"tasks": {"topic": 0.5}}}, "no task 'topic'"),
        (
            {"abstention": {"tasks": {"jailbreak": 0.99}}, "guards": GUARDS},
            "f: abstention: task 'jailbreak' is a detector and never abstains; use "
            r"guards\.jailbreak\.threshold",
        ),
        (
            {"abstention": {"tasks": {"pii": 0.5}}},
            r"'pii' finds entities and never abstains; use guards\.pii\.threshold",
        ),
        (
            {
                "abstention": {"intent": 0.5},
                "tasks": {"intent": "jailbreak", "jailbreak": "other"},
            },
            "'jailbreak' is a detector and never abstains; take it out",
        ),
        ({"tools": {"catalogue": [{**TOOL, "intents": ["sums"]}]}}, "no intent label 'sums'"),
    ],
)
def test_guards_tools_and_abstention_are_compared_with_the_bundle(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_labels(make_policy(**settings), BUILT_IN, source="f")


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (None, {"domain": "law"}),
        ({"domain": "law"}, {"domain": "law"}),
        ({"domain": ["law", "math"]}, {"domain": {"labels": ["law"], "at_least": 0.8}}),
        ({"domain": "law"}, {"all": [{"keyword": "x"}, {"domain": "law"}]}),
        ({"any": [{"domain": "law"}, {"pii": "*"}]}, {"pii": "PERSON"}),
        ({"keyword": ["a", "b"]}, {"keyword": "a"}),
        ({"keyword": ["a", "b"]}, {"keyword": {"words": ["a", "c"], "match": "all"}}),
        ({"text_length": {"at_least": 5}}, {"text_length": {"at_least": 9, "at_most": 20}}),
        ({"header": "x-a"}, {"header": {"name": "X-A", "equals": "1"}}),
        ({"not": {"domain": "law"}}, {"not": {"domain": ["law", "math"]}}),
    ],
)
def test_a_decision_that_another_always_precedes_is_reported(first: Any, later: Any) -> None:
    both = (decision("later", later), decision("first", first, priority=1))
    [warning, *_] = check_policy(make_policy(*both), source="f")
    assert warning == (
        "decisions.0 (later): can never fire, first (priority 1) takes all of its requests "
        "first"
    )


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"domain": "law"}, {"domain": ["law", "math"]}),
        ({"domain": {"labels": ["law"], "at_least": 0.8}}, {"domain": "law"}),
        ({"all": [{"keyword": "x"}, {"domain": "law"}]}, {"domain": "law"}),
        ({"keyword": {"words": ["a"], "case_sensitive": True}}, {"keyword": "a"}),
        ({"header": {"name": "x-a", "equals": "1"}}, {"header": "x-a"}),
        ({"not": {"domain": ["law", "math"]}}, {"not": {"domain": "law"}}),
        ({"domain": "law"}, {"intent": "calculation"}),
    ],
)
def test_a_decision_that_can_fire_is_not_reported(first: Any, later: Any) -> None:
    both = (decision("later", later), decision("first", first, priority=1))
    assert not [w for w in check_policy(make_policy(*both), source="f") if "never fire" in w]


def test_rules_that_exclude_each_other_are_reported() -> None:
    policy = make_policy(decision("a", {"all": [{"domain": "law"}, {"domain": "math"}]}))
    assert check_policy(policy, source="f")[0] == (
        "decisions.0 (a): can never fire, its rules exclude each other"
    )


def test_what_is_probably_not_meant_is_a_warning() -> None:
    policy = make_policy(
        decision("a", {"domain": "law"}, reasoning=True, guards={"pii": {"default": "block"}})
    )
    found = "\n".join(check_policy(policy, source="f"))
    assert "guards.jailbreak: is not configured" in found
    assert "decisions.0.models: large shall reason and has no reasoning_family" in found
    assert "decisions.0.guards.pii: has no effect without guards.pii" in found
    assert "models.coder: no decision uses it" in found


def test_an_endpoint_with_the_version_in_it_is_warned_about() -> None:
    models = {**MODELS, "far": {"endpoints": "https://far.example/openai/v1"}}
    policy = make_policy(models=models, default_model="far")
    warnings = check_policy(policy, source="test.yaml")
    assert any("models.far.endpoints" in line and "/v1/v1" in line for line in warnings)
