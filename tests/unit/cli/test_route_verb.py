"""``routewright route``, ``check`` and ``import-config`` on a real bundle."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from routewright.bundle import Bundle
from routewright.cli.main import app
from routewright.errors import (
    BundleError,
    ConfigError,
    DataError,
    RoutewrightError,
    UnknownModelError,
)

EXAMPLE = Path(__file__).parents[3] / "examples" / "routewright.yaml"


def run(*arguments: str | Path, stdin: str | bytes | None = None) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
    if isinstance(result.exception, RoutewrightError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def policy_data(bundle: Bundle) -> dict[str, Any]:
    return {
        "bundle": str(bundle.path),
        "tasks": {"domain": "topic", "jailbreak": "attack", "pii": "entities"},
        "models": {name: {"endpoints": f"http://{name}:80"} for name in ("small", "large")},
        "default_model": "small",
        "decisions": [
            {"name": "numbers", "priority": 5, "rules": {"pii": "NUMBER"}, "models": ["large"]},
            {
                "name": "gold",
                "rules": {"header": {"name": "x-tier", "equals": "gold"}},
                "models": ["large"],
            },
        ],
        "guards": {"jailbreak": {}, "pii": {"default": "mask"}},
    }


@pytest.fixture
def config(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    path = tmp_path / "routewright.yaml"
    path.write_text(yaml.safe_dump(policy_data(tiny_bundle), sort_keys=False), encoding="utf-8")
    return path


def routed(*arguments: str | Path, stdin: str | bytes | None = None) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(run("route", *arguments, "--json", stdin=stdin))
    return plain


def test_a_text_is_routed_by_what_is_in_it(config: Path) -> None:
    plain = routed("call 12 now", "--config", config)
    assert (plain["name"], plain["model"], plain["masked_types"]) == (
        "numbers",
        "large",
        ["NUMBER"],
    )
    assert plain["signals"]["entities"][0]["start"] == 5
    assert "call 12" not in json.dumps(plain)


def test_headers_and_named_models_are_inputs(config: Path) -> None:
    assert routed("hello", "--config", config)["kind"] == "default"
    assert routed("hello", "--config", config, "--header", "X-Tier=gold")["name"] == "gold"
    assert routed("hello", "--config", config, "--model", "large")["kind"] == "named"
    with pytest.raises(UnknownModelError, match="known: auto, MoM, small, large"):
        routed("hello", "--config", config, "--model", "huge")
    with pytest.raises(ConfigError, match="--header x-tier: expected NAME=VALUE"):
        routed("hello", "--config", config, "--header", "x-tier")


def test_an_attack_is_blocked_whatever_model_is_named(config: Path) -> None:
    for model in ("auto", "small", "large"):
        assert routed("xxxx", "--config", config, "--model", model)["blocked"]


def test_the_reasons_are_printed_for_people(config: Path) -> None:
    output = run("route", "-", "--config", config, stdin="call 12\n")
    assert "decision numbers (priority 5): pii NUMBER" in output
    assert "entities: NUMBER [5, 7)" in output
    assert "gold (priority 0): header x-tier needed gold, was absent" in output
    assert "blocked" in run("route", "xxxx", "--config", config)


def test_standard_input_that_is_not_utf8_is_named_by_line(config: Path) -> None:
    with pytest.raises(DataError, match="standard input:2: is not UTF-8 text"):
        routed("-", "--config", config, stdin=b"ok\n\xff\n")
    assert routed("-", "--config", config, stdin="\ufeffcall 12")["name"] == "numbers"


def without_bundle(config: Path) -> str:
    """Take the bundle out of the file; gives its folder."""
    data = yaml.safe_load(config.read_text(encoding="utf-8"))
    bundle: str = data.pop("bundle")
    config.write_text(yaml.safe_dump(data), encoding="utf-8")
    return bundle


def test_a_bundle_is_needed_to_route(config: Path, shipped_folder: Path) -> None:
    bundle = without_bundle(config)
    with pytest.raises(BundleError, match=r"no bundle of its own.* pass --bundle BUNDLE"):
        routed("hello", "--config", config)
    assert routed("hello", "--config", config, "--bundle", bundle)["model"] == "small"
    assert "tasks and labels are not checked" in run("check", "--config", config)


def test_a_file_without_a_bundle_uses_that_of_the_package_and_says_so(
    config: Path, shipped_bundle: Bundle
) -> None:
    without_bundle(config)
    assert "default, the one of the package, as" in run("route", "hi", "--config", config)
    output = " ".join(run("check", "--config", config).split())
    assert "pass: default, the one of the package" in output
    assert "warning: bundle" not in output


def test_a_file_may_name_the_bundle_of_the_package(
    config: Path, shipped_bundle: Bundle
) -> None:
    text = config.read_text(encoding="utf-8")
    own = str(yaml.safe_load(text)["bundle"])
    config.write_text(text.replace(own, "default"), encoding="utf-8")
    assert routed("call 12", "--config", config)["model"] == "large"
    config.write_text(text.replace(own, "./default"), encoding="utf-8")
    with pytest.raises(BundleError, match=f"{config.parent}/default: no such bundle folder"):
        routed("call 12", "--config", config)


def test_check_opens_the_bundle_and_summarises(config: Path) -> None:
    output = run("check", "--config", config)
    assert "hashes and golden cases pass" in output
    assert output.endswith("routewright.yaml: valid\n")


def test_check_names_a_label_that_the_bundle_does_not_have(config: Path) -> None:
    text = config.read_text(encoding="utf-8").replace("pii: NUMBER", "pii: NUMBERS")
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="no entities type 'NUMBERS'; did you mean 'NUMBER'"):
        run("check", "--config", config)


def test_check_finds_a_bundle_relative_to_the_file(config: Path) -> None:
    data = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump({**data, "bundle": "gone"}), encoding="utf-8")
    with pytest.raises(BundleError, match=f"{config.parent}/gone: no such bundle folder"):
        run("check", "--config", config)


def test_check_misses_a_secret_by_its_name(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = yaml.safe_load(config.read_text(encoding="utf-8"))
    data["models"]["small"]["api_key"] = "${TEST_SMALL_KEY}"
    config.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="variable TEST_SMALL_KEY is not set; export"):
        run("check", "--config", config)
    monkeypatch.setenv("TEST_SMALL_KEY", "canary-7f3a")
    assert "canary" not in run("check", "--config", config)


def test_check_prints_the_schema_without_a_file() -> None:
    schema = json.loads(run("check", "--schema"))
    assert "models" in schema["properties"]
    assert "http" in schema["properties"]["gateway"]["properties"]
    assert "Listen" in schema["$defs"]
    with pytest.raises(ConfigError, match="name the policy file: --config"):
        run("check")


def test_check_reads_the_gateway_section_too(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "routewright.yaml"
    data = policy_data(tiny_bundle) | {"gateway": {"http": {"port": 8123}, "metrics": None}}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    output = run("check", "--config", path)
    assert "http: 127.0.0.1:8123" in output
    assert "metrics: closed" in output
    path.write_text(yaml.safe_dump(data | {"gateway": {"htpt": None}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"gateway\.htpt: unknown key"):
        run("check", "--config", path)


def test_the_example_passes() -> None:
    from routewright.gateway.policy_file import read_policy_file
    from routewright.policy.checks import check_labels
    from routewright.tasks import BUILT_IN

    assert run("check", "--config", EXAMPLE).endswith("valid\n")
    file = read_policy_file(EXAMPLE)
    assert [*file.warnings, *check_labels(file.policy, BUILT_IN, source="example")] == []


def test_an_old_configuration_is_imported_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, out = tmp_path / "config.yaml", tmp_path / "routewright.yaml"
    tool = {"tool": {"function": {"name": "get_weather"}}, "description": "Weather now"}
    (tmp_path / "tools_db.json").write_text(json.dumps([tool]), encoding="utf-8")
    old.write_text(
        "vllm_endpoints: [{name: one, address: 10.0.0.1, port: 8000}]\n"
        "model_config: {phi4: {preferred_endpoints: [one], access_key: canary-7f3a}}\n"
        "categories: [{name: law, model_scores: [{model: phi4, score: 1.0}]}]\n"
        "tools: {enabled: true, tools_db_path: tools_db.json}\n"
        "bert_model: {model_id: x}\ndefault_model: phi4\n",
        encoding="utf-8",
    )
    output = run("import-config", old, "--out", out)
    assert "1 models, 1 decisions" in output
    assert "bert_model.model_id: has no equivalent" in output
    assert "canary" not in output + out.read_text(encoding="utf-8")
    assert "get_weather" in out.read_text(encoding="utf-8")
    monkeypatch.setenv("PHI4_API_KEY", "k")
    assert run("check", "--config", out).endswith("valid\n")
    with pytest.raises(ConfigError, match="exists; name another file or pass --force"):
        run("import-config", old, "--out", out)


def test_an_import_that_fails_blames_the_old_file_and_writes_none(tmp_path: Path) -> None:
    old, out = tmp_path / "config.yaml", tmp_path / "routewright.yaml"
    old.write_text(
        "vllm_endpoints: [{name: one, address: a, models: [m], weight: -1}]\n", "utf-8"
    )
    with pytest.raises(ConfigError) as caught:
        run("import-config", old, "--out", out)
    assert str(caught.value).startswith(f"{old}, translated: models.m.endpoints.0.weight: ")
    assert not out.exists()
