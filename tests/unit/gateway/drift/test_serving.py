"""A served gateway from its policy file on: what the settings do, and what a scraper reads."""

import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.drift_parts import counted, mixed
from tests.gateway_parts import ATTACK, POLICY, chat, gateway_bundle, run
from typer.testing import CliRunner

from routewright.bundle import manifest_digest
from routewright.cli.main import app
from routewright.errors import ConfigError
from routewright.gateway.deploying import load_deployment
from routewright.gateway.drift.reference import ReferenceFile
from routewright.gateway.policy_file import read_policy_file
from routewright.gateway.serve import Gateway
from routewright.gateway.settings import parse_gateway
from routewright.gateway.telemetry import DRIFT_METRICS, PREFIX


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gateway_bundle(tmp_path_factory.mktemp("drift") / "bundle")


def policy_file(folder: Path, **drift: Any) -> Path:
    doors: dict[str, Any] = {name: {"port": 0} for name in ("http", "metrics")}
    gateway = {**doors, "ext_proc": None, "api": None, **drift}
    path = folder / "routewright.yaml"
    path.write_text(yaml.safe_dump({**POLICY, "gateway": gateway}), encoding="utf-8")
    return path


def served(folder: Path, bundle: Path, **drift: Any) -> Gateway:
    path = policy_file(folder, **drift)
    return Gateway(load_deployment(read_policy_file(path, bundle), num_threads=1))


def reference(path: Path, manifest: str, num: int = 500) -> None:
    ReferenceFile(path, "test").save(manifest, counted(mixed(num, math=0.5)))


def test_a_scraper_reads_the_gauges(tmp_path: Path, bundle: Path) -> None:
    """From a reference beside the policy file, and requests through the door."""
    reference(tmp_path / "drift.json", manifest_digest(bundle))

    async def play() -> str:
        drift = {"window": 500, "reference": "drift.json"}
        gateway = served(tmp_path, bundle, drift=drift)
        addresses = await gateway.start()
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://{addresses['http']}/v1/chat/completions"
            for _ in range(450):
                assert (await client.post(url, json=chat(ATTACK))).status_code == 200
            metrics = await client.get(f"http://{addresses['metrics']}/metrics")
        await gateway.stop(drain_s=1.0)
        return metrics.text

    lines = run(play()).splitlines()
    assert 'routewright_drift_requests{which="reference"} 500.0' in lines
    assert 'routewright_drift_requests{which="recent"} 450.0' in lines
    values = dict(line.rsplit(" ", 1) for line in lines if "drift_psi{" in line)
    assert len(values) == 8
    assert float(values['routewright_drift_psi{of="label",task="jailbreak"}']) > 0.25
    assert float(values['routewright_drift_psi{of="entities",task="pii"}']) < 0.01


def test_by_default_there_is_a_window_and_no_file(tmp_path: Path, bundle: Path) -> None:
    settings = parse_gateway({}, source="test.yaml").drift
    assert settings is not None
    assert (settings.window, settings.reference) == (5000, None)

    async def play() -> tuple[bytes, bytes]:
        gateway = served(tmp_path, bundle)
        shown = gateway.telemetry.render()
        await gateway.stop(drain_s=0.1)
        off = served(tmp_path, bundle, drift=None)
        await off.stop(drain_s=0.1)
        return shown, off.telemetry.render()

    shown, off = run(play())
    assert b'drift_requests{which="reference"} 0.0' in shown
    assert not [spec.name for spec in DRIFT_METRICS if spec.name.encode() in off]
    assert [path.name for path in tmp_path.iterdir()] == ["routewright.yaml"]


def test_the_alert_of_the_page_asks_for_a_gauge_that_there_is() -> None:
    page = (Path(__file__).parents[4] / "docs" / "running.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", page, re.DOTALL)
    (rule,) = yaml.safe_load(block)["groups"][0]["rules"]
    name, _, limit = rule["expr"].partition(" > ")
    assert name in {PREFIX + spec.name for spec in DRIFT_METRICS}
    assert float(limit) == 0.25
    labels = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert labels == set(DRIFT_METRICS[0].labels)


@pytest.mark.parametrize(
    ("drift", "problem"),
    [
        ({"window": 499}, "gateway.drift: window must be at least 500, got 499"),
        ({"reference": " "}, "gateway.drift: reference is empty"),
        ({"reference": "a\0b"}, "gateway.drift: reference has a null character"),
        ({"windows": 5000}, "gateway.drift.windows: unknown key; did you mean window"),
    ],
)
def test_a_wrong_setting_is_named(drift: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_gateway({"gateway": {"drift": drift}}, source="test.yaml")


def test_a_damaged_reference_is_one_line_and_the_users_to_mend(
    tmp_path: Path, bundle: Path
) -> None:
    (tmp_path / "drift.json").write_text("mine")
    path = policy_file(tmp_path, drift={"reference": "drift.json"})
    arguments = ["check", "--config", str(path), "--bundle", str(bundle)]
    checked = CliRunner().invoke(app, arguments).exception
    with pytest.raises(ConfigError) as started:
        served(tmp_path, bundle, drift={"reference": "drift.json"})
    assert isinstance(checked, ConfigError)
    message = str(checked)
    assert message == str(started.value)
    assert message.startswith(f"{path}: gateway.drift.reference: {tmp_path / 'drift.json'}: ")
    assert "\n" not in message
    assert (tmp_path / "drift.json").read_text() == "mine"


def test_a_restart_after_another_bundle_was_put_in_place_is_not_refused(
    tmp_path: Path, bundle: Path
) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    manifest, drift = folder / "manifest.json", {"reference": "drift.json"}
    reference(tmp_path / "drift.json", manifest_digest(folder))

    async def play() -> None:
        gateway = served(tmp_path, folder, drift=drift)
        await gateway.start()
        manifest.write_bytes(manifest.read_bytes() + b"\n")
        assert (await gateway.reloader.reload()).swapped == ("bundle",)
        assert b'drift_requests{which="reference"} 0.0' in gateway.telemetry.render()
        await gateway.stop(drain_s=0.1)
        await served(tmp_path, folder, drift=drift).stop(drain_s=0.1)

    run(play())


def test_a_file_in_the_way_stops_the_start(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"gateway\.drift\.reference: .*cannot be written"):
        served(tmp_path, bundle, drift={"reference": "file/drift.json"})


def test_check_passes_what_is_right_or_not_there_yet(tmp_path: Path, bundle: Path) -> None:
    path = policy_file(tmp_path, drift={"reference": "drift.json"})
    arguments = ["check", "--config", str(path), "--bundle", str(bundle)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    for manifest in (manifest_digest(bundle), "c" * 64):
        reference(tmp_path / "drift.json", manifest)
        assert CliRunner().invoke(app, arguments).exit_code == 0
