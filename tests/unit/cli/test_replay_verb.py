"""``routewright replay``: logged requests through a policy, and through two."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.gateway_parts import ATTACK, MATH, NEUTRAL, POLICY, gateway_bundle
from typer.testing import CliRunner

from routewright.cli.main import app
from routewright.errors import ConfigError, DataError, GateError, RoutewrightError

TRAFFIC = [
    {"model": "auto", "messages": [{"role": "user", "content": MATH}]},
    {"body": {"model": "auto", "messages": [{"role": "user", "content": ATTACK}]}},
    {"text": NEUTRAL},
    {"model": "auto", "prompt": MATH},
    {"path": "/v1/embeddings", "body": {"model": "large", "input": NEUTRAL}},
    {"body": json.dumps({"model": "no-such", "messages": [{"role": "user", "content": MATH}]})},
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gateway_bundle(tmp_path_factory.mktemp("replay") / "bundle")


def policy(path: Path, bundle: Path, **changes: Any) -> Path:
    data = {**POLICY, "bundle": str(bundle), **changes}
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def traffic(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    if isinstance(result.exception, RoutewrightError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def replayed(*arguments: str | Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return plain


def test_logged_requests_are_decided_about_as_the_gateway_would(
    bundle: Path, tmp_path: Path
) -> None:
    config = policy(tmp_path / "a.yaml", bundle)
    log = traffic(tmp_path / "log.jsonl", TRAFFIC)
    found = replayed(log, "--config", config)["policies"][0]["requests"]
    assert [request["line"] for request in found] == [1, 2, 3, 4, 5, 6]
    assert [(r["outcome"], r["decision"], r["model"]) for r in found] == [
        ("forwarded", "maths", "large"),
        ("blocked", None, None),
        ("forwarded", None, "small"),
        ("forwarded", "maths", "large"),
        ("forwarded", None, "large"),
        ("refused", None, None),
    ]
    assert found[1]["guards"]["jailbreak"] == "blocked"
    assert found[5]["error"] is not None


def test_two_policies_are_compared_line_by_line(bundle: Path, tmp_path: Path) -> None:
    old = policy(tmp_path / "old.yaml", bundle)
    shadow = {**POLICY["guards"], "jailbreak": {"threshold": 0.5, "mode": "shadow"}}
    new = policy(tmp_path / "new.yaml", bundle, guards=shadow, decisions=[])
    log = traffic(tmp_path / "log.jsonl", TRAFFIC)
    changes = replayed(log, "--config", new, "--against", old)["changes"]
    assert [change["line"] for change in changes] == [1, 2, 4]
    assert changes[0]["decision"] == {"before": "maths", "now": None}
    assert changes[0]["model"] == {"before": "large", "now": "small"}
    assert changes[1]["guard jailbreak"] == {"before": "blocked", "now": "would_block"}
    shown = run(log, "--config", new, "--against", old)
    assert "3 of 6 are treated otherwise" in shown
    assert "line 1: decision maths -> none, model large -> small" in shown


def test_a_policy_changes_nothing_against_itself(bundle: Path, tmp_path: Path) -> None:
    config = policy(tmp_path / "a.yaml", bundle)
    log = traffic(tmp_path / "log.jsonl", TRAFFIC)
    same = ("--config", config, "--against", config, "--max-changed", "0")
    assert replayed(log, *same)["changes"] == []


def test_too_many_changes_fail_the_gate(bundle: Path, tmp_path: Path) -> None:
    old = policy(tmp_path / "old.yaml", bundle)
    new = policy(tmp_path / "new.yaml", bundle, decisions=[])
    log = traffic(tmp_path / "log.jsonl", TRAFFIC)
    with pytest.raises(GateError, match=r"of 6 requests .* at most 10.0% may be"):
        run(log, "--config", new, "--against", old, "--max-changed", "0.1")


def test_a_session_keeps_its_model_as_it_would_live(bundle: Path, tmp_path: Path) -> None:
    config = policy(tmp_path / "a.yaml", bundle)
    session = {"headers": {"X-Session-Id": "s1", "Content-Length": "3"}}
    bodies = [
        {"model": "auto", "messages": [{"role": "user", "content": text}]}
        for text in (MATH, NEUTRAL)
    ]
    log = traffic(tmp_path / "log.jsonl", [{"body": body, **session} for body in bodies])
    found = replayed(log, "--config", config)["policies"][0]["requests"]
    assert [r["model"] for r in found] == ["large", "large"]
    assert found[1]["kind"] == "kept"


def test_requests_go_the_way_of_the_http_door(bundle: Path, tmp_path: Path) -> None:
    config = policy(tmp_path / "a.yaml", bundle, gateway={"max_body_bytes": 2000})
    chat = {"model": "auto", "messages": [{"role": "user", "content": MATH}]}
    log = traffic(
        tmp_path / "log.jsonl",
        [
            {"body": chat, "path": "/v1/chat/completions?api-version=1"},
            {"body": chat, "headers": {"x-vsr-forged": "1", "Connection": "x-vsr-forged"}},
            {"body": {**chat, "user": "u" * 2000}},
            {"body": None, "text": MATH},
            {"model": "auto", "prompt": {"id": "p"}, "input": MATH},
        ],
    )
    found = replayed(log, "--config", config)["policies"][0]["requests"]
    assert [(r["outcome"], r["error"]) for r in found] == [
        ("forwarded", None),
        ("forwarded", None),
        ("refused", "too_large"),
        ("forwarded", None),
        ("forwarded", None),
    ]


def test_a_slow_machine_changes_no_decision(bundle: Path, tmp_path: Path) -> None:
    hurried = {"jailbreak": {"threshold": 0.5, "latency_budget_s": 1e-9}}
    config = policy(tmp_path / "a.yaml", bundle, guards=hurried, gateway={"deadline_s": 1e-9})
    log = traffic(tmp_path / "log.jsonl", TRAFFIC[:1])
    [found] = replayed(log, "--config", config)["policies"][0]["requests"]
    assert (found["outcome"], found["guards"]["jailbreak"]) == ("forwarded", "passed")


def test_names_with_brackets_are_shown_as_they_are(bundle: Path, tmp_path: Path) -> None:
    config = policy(
        tmp_path / "p.yaml",
        bundle,
        decisions=[{"name": "[/red]x", "rules": {"domain": "math"}, "models": ["large"]}],
    )
    shown = run(traffic(tmp_path / "log.jsonl", TRAFFIC[:1]), "--config", config)
    assert "[/red]x" in shown


def test_no_text_of_a_request_is_printed(bundle: Path, tmp_path: Path) -> None:
    config = policy(tmp_path / "a.yaml", bundle)
    canary = "canary-4711 call 12"
    log = traffic(tmp_path / "log.jsonl", [{"text": canary}, {"model": canary, "prompt": "a"}])
    for form in ([], ["--json"]):
        assert "4711" not in run(log, "--config", config, "--against", config, *form)


def test_secrets_of_models_are_not_needed(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REPLAY_KEY", raising=False)
    models = {
        **POLICY["models"],
        "small": {"endpoints": "http://127.0.0.1:9", "api_key": "${REPLAY_KEY}"},
    }
    config = policy(tmp_path / "a.yaml", bundle, models=models)
    log = traffic(tmp_path / "log.jsonl", [{"text": NEUTRAL}])
    assert replayed(log, "--config", config)["num_requests"] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "x"}, "log.jsonl:2: needs messages, prompt, input or text"),
        ({"body": 3}, "log.jsonl:2: body has to be an object, found int"),
        ({"body": "{"}, "log.jsonl:2: body is text and no JSON"),
        ({"body": {"prompt": "x"}, "path": "/v2"}, "log.jsonl:2: path /v2 is no endpoint"),
        ({"body": {"prompt": "x"}, "path": ["a"]}, "log.jsonl:2: path ['a'] is no endpoint"),
        ({"body": "[" * 100_000}, "log.jsonl:2: body is text and no JSON"),
        (
            {"body": {"prompt": "x"}, "headers": [1]},
            "log.jsonl:2: headers have to be an object",
        ),
    ],
)
def test_a_row_that_is_no_request_is_named(
    bundle: Path, tmp_path: Path, row: Any, message: str
) -> None:
    config = policy(tmp_path / "a.yaml", bundle)
    log = traffic(tmp_path / "log.jsonl", [{"text": "x"}, row])
    with pytest.raises(DataError) as caught:
        run(log, "--config", config)
    assert message in str(caught.value)


def test_an_empty_log_and_a_missing_policy_are_named(bundle: Path, tmp_path: Path) -> None:
    empty = tmp_path / "log.jsonl"
    empty.write_text("", "utf-8")
    with pytest.raises(DataError, match="holds no"):
        run(empty, "--config", policy(tmp_path / "a.yaml", bundle))
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        run(traffic(empty, TRAFFIC), "--config", tmp_path / "none.yaml")
