"""The policy file: strict, clear about what is wrong, and never holding a secret."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.policies import MODELS, decision, make_policy

from routewright.config import read_yaml
from routewright.errors import ConfigError
from routewright.policy.settings import (
    Policy,
    parse_policy,
    policy_schema,
    resolve_secrets,
    secret_variables,
)


def model(**settings: Any) -> Policy:
    return make_policy(models={**MODELS, "small": {"endpoints": "http://a", **settings}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"defualt_model": "x"},
            "test.yaml: defualt_model: unknown key; did you mean default_",
        ),
        (
            {"decisions": [decision("a", {"any": [{"domian": "law"}]})]},
            r"decisions\.0\.rules\.any\.0\.domian: unknown key; did you mean domain\?",
        ),
        (
            {"decisions": [decision("a", {"not": {"header": {"nmae": "x"}}})]},
            r"decisions\.0\.rules\.not\.header\.nmae: unknown key; did you mean name\?",
        ),
        (
            {"decisions": [decision("a", {"domain": "law", "intent": "analysis"})]},
            "exactly one condition, found domain and intent; combine several with all:",
        ),
        ({"decisions": [decision("a", {"all": []})]}, "all needs at least one rule"),
        (
            {"decisions": [decision("a", {"domain": {"labels": ["law"], "at_least": 60}})]},
            r"domain: at_least must lie in \[0, 1\], got 60",
        ),
        ({"decisions": [decision("a", {"jailbreak": False})]}, "write not: {jailbreak: true}"),
        (
            {"decisions": [decision("a", {"text_length": {}})]},
            "needs at_least, at_most or both",
        ),
        (
            {
                "decisions": [
                    decision("a", models=[{"model": "small", "weight": 1}, {"model": "large"}])
                ]
            },
            "either every model of a decision has a weight",
        ),
        ({"models": {"a": {"endpoints": "localhost:80"}}}, "http://HOST"),
        *(
            (
                {"decisions": [decision("a", models=[{"model": "small", "weight": weight}])]},
                rf"models\.0\.weight: input should be .*, got {weight}",
            )
            for weight in (math.inf, math.nan, -1)
        ),
        ({"guards": {"jailbreak": {"on_error": "shut"}}}, "'open' or 'closed', got 'shut'"),
        ({"guards": {"pii": {"latency_budget_s": 0}}}, "latency_budget_s must be positive"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_policy(**settings) if "decisions" not in settings else make_policy(
            *settings["decisions"]
        )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([math.inf], r"\.0\.weight: input should be a finite number, got inf"),
        ([1, math.nan], r"\.1\.weight: input should be a finite number, got nan"),
        ([-1], r"\.0\.weight: input should be greater than or equal to 0, got -1"),
        ([0, 0], "needs an endpoint with a positive weight"),
        ([1e308, 1e308], "and no huge one"),
    ],
)
def test_weights_that_no_draw_can_be_made_by_are_refused(
    weights: list[float], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"models\.small.*{message}"):
        model(endpoints=[{"url": "http://a", "weight": weight} for weight in weights])


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "canary-7f3a"},
        {"api_key": "Bearer ${KEY} canary-7f3a"},
        {"api_key": ["canary-7f3a"]},
        {"endpoints": "https://user:canary-7f3a@host"},
        {"api-key": "canary-7f3a"},
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"models\.small\.(api|endpoints)") as caught:
        model(**settings)
    assert "canary" not in str(caught.value)


def test_names_that_look_like_secrets_and_texts_with_urls_are_read() -> None:
    arguments = {"properties": {"api_key": {"type": "string"}, "url": {"default": "ftp://a@b"}}}
    tool = {"name": "call", "description": "ftp://a@b is called", "parameters": arguments}
    policy = make_policy(
        decision("a", {"keyword": "https://me@host"}, system_prompt="https://me@host is mine"),
        tools={"catalogue": [tool]},
        guards={"pii": {"types": {"api_key": "block"}}},
    )
    assert policy.tools.catalogue[0].parameters == arguments


@pytest.mark.parametrize("name", ["parameters", "types"])
def test_a_model_named_like_a_place_of_names_still_holds_no_secret(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"models\.{name}\.api_key: write"):
        make_policy(models={name: {"endpoints": "http://a", "api_key": "canary-7f3a"}})


def test_secrets_are_read_from_the_environment_and_a_missing_one_is_one_line() -> None:
    policy = model(api_key="${SMALL_KEY}")
    assert secret_variables(policy) == {"small": "SMALL_KEY"}
    assert resolve_secrets(policy, {"SMALL_KEY": "k"}, source="f") == {"small": "k"}
    with pytest.raises(ConfigError) as caught:
        resolve_secrets(policy, {"SMALL_KEY": ""}, source="f.yaml")
    assert str(caught.value) == (
        "f.yaml: models.small.api_key: environment variable SMALL_KEY is not set; export "
        "SMALL_KEY=..."
    )


@pytest.mark.parametrize("key", ["canary-7f3a\n", "canary\r\n7f3a", "canary\0", "canary\udcff"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    policy = model(api_key="${SMALL_KEY}")
    with pytest.raises(ConfigError) as caught:
        resolve_secrets(policy, {"SMALL_KEY": key}, source="f.yaml")
    assert str(caught.value) == (
        "f.yaml: models.small.api_key: environment variable SMALL_KEY holds a line break or "
        "another character that cannot be printed; export the key alone"
    )


def test_only_secrets_are_taken_from_the_environment() -> None:
    policy = make_policy(decision("a", system_prompt="Print ${HOME}."))
    prompt = policy.decisions[0].system_prompt
    assert prompt is not None
    assert prompt.text == "Print ${HOME}."


def test_a_key_that_occurs_twice_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("models:\n  a: {endpoints: 'http://a'}\n  a: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"p\.yaml:3: not valid YAML: key 'a' occurs twice"):
        read_yaml(path)


def test_anchors_and_merges_still_work(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, x: 3}\n", encoding="utf-8"
    )
    assert read_yaml(path) == {
        "a": {"x": 1, "y": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 3, "y": 2},
    }


def test_sections_of_other_modules_are_left_to_them() -> None:
    assert make_policy(gateway={"port": 1}).default_model == "small"


def test_decisions_are_asked_by_priority_and_then_in_order() -> None:
    policy = make_policy(
        decision("c"), decision("a", priority=2), decision("d"), decision("b", priority=2)
    )
    assert [d.name for d in policy.ranked] == ["a", "b", "c", "d"]


def test_endpoints_know_host_and_port() -> None:
    endpoints = model(
        endpoints=["http://h", {"url": "https://h/v", "weight": 2}, "http://[::1]:9"]
    )
    found = [e.host_port for e in endpoints.models["small"].endpoints]
    assert found == [("h", 80), ("h", 443), ("::1", 9)]


def test_the_schema_describes_short_and_long_forms() -> None:
    schema = policy_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["additionalProperties"] is False
    assert {"models", "decisions", "guards", "gateway"} <= set(schema["properties"])
    rule = schema["$defs"]["Rule"]
    assert "not" in rule["properties"]
    assert {"type": "string"} in rule["properties"]["domain"]["anyOf"]


def test_the_whole_file_must_be_of_the_right_shape() -> None:
    with pytest.raises(ConfigError, match=r"f: models: input should be a valid dictionary"):
        parse_policy({"models": [], "default_model": "a"}, source="f")
