"""What guards do: strictness of overrides, shadow mode, thresholds."""

from dataclasses import replace
from typing import Any

import pytest
from tests.policies import MODELS, decision, make_policy, make_signals

from routewright.errors import ConfigError
from routewright.policy.decision import decide


def guarded(guards: Any, own: Any = None, of_model: Any = None, **request: Any) -> Any:
    models = {**MODELS, "large": {**MODELS["large"], "guards": of_model or {}}}
    policy = make_policy(decision("all", guards=own or {}), guards=guards, models=models)
    [outcome] = decide(make_signals(**request), policy).guards
    return outcome


def test_shadow_mode_lets_pass_and_records_what_it_would_have_done() -> None:
    outcome = guarded({"jailbreak": {"mode": "shadow"}}, attack=0.9)
    assert (outcome.action, outcome.would, outcome.reason) == (
        "allow",
        "block",
        "score 0.900 >= 0.500",
    )
    outcome = guarded({"pii": {"mode": "shadow"}}, types=["PERSON"])
    assert (outcome.action, outcome.would, outcome.types) == (
        "allow",
        "mask",
        {"PERSON": "mask"},
    )


def test_shadow_mode_never_blocks_on_an_error() -> None:
    policy = make_policy(guards={"jailbreak": {"mode": "shadow"}})
    silent = replace(make_signals(), sequence={})
    [outcome] = decide(silent, policy).guards
    assert (outcome.action, outcome.would, outcome.failed) == ("allow", "block", True)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (["user", "wizard"], r"guards.jailbreak.roles.1: .*'tool'.*'system'.*got 'wizard'"),
        (["tool"], r"guards.jailbreak: roles must name user, .*mode: off"),
        ([], "roles must name user"),
    ],
)
def test_roles_that_there_are_not_and_those_without_the_user_are_refused(
    roles: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_policy(guards={"jailbreak": {"roles": roles}})


def test_a_bare_off_is_off() -> None:
    assert guarded({"jailbreak": {"mode": False}}, attack=0.99).action == "allow"


@pytest.mark.parametrize(
    ("own", "of_model", "action"),
    [
        ({}, {}, "block"),
        ({"mode": "off"}, {}, "allow"),
        ({"mode": "off"}, {"mode": "block"}, "block"),
        ({"mode": "shadow"}, {"mode": "off"}, "allow"),
        ({"threshold": 0.95}, {}, "allow"),
        ({"threshold": 0.95}, {"threshold": 0.8}, "block"),
    ],
)
def test_the_stricter_of_decision_and_model_guards_against_attacks(
    own: Any, of_model: Any, action: str
) -> None:
    outcome = guarded(
        {"jailbreak": {}}, {"jailbreak": own}, {"jailbreak": of_model}, attack=0.9
    )
    assert outcome.action == action


@pytest.mark.parametrize(
    ("own", "of_model", "action"),
    [
        ({}, {}, "mask"),
        ({"types": {"PERSON": "allow"}}, {}, "allow"),
        ({"types": {"PERSON": "allow"}}, {"types": {"PERSON": "block"}}, "block"),
        ({"types": {"PERSON": "allow"}}, {"default": "mask"}, "mask"),
        ({"default": "block"}, {}, "block"),
    ],
)
def test_the_stricter_of_decision_and_model_decides_each_type(
    own: Any, of_model: Any, action: str
) -> None:
    outcome = guarded({"pii": {}}, {"pii": own}, {"pii": of_model}, types=["PERSON"])
    assert outcome.types == {"PERSON": action}


def test_a_type_that_the_guard_names_is_not_changed_by_a_default_elsewhere() -> None:
    pii = {"types": {"US_SSN": "block"}}
    outcome = guarded({"pii": pii}, {"pii": {"default": "allow"}}, types=["US_SSN", "AGE"])
    assert outcome.types == {"US_SSN": "block", "AGE": "allow"}


def test_entities_below_the_threshold_of_the_guard_do_not_count() -> None:
    assert guarded({"pii": {"threshold": 0.95}}, types=["PERSON"]).types == {}
