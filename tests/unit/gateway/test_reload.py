"""Swapping bundle and policy of a running engine: only what changed, or nothing at all."""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.gateway_parts import MATH, POLICY, TASKS, gateway_bundle, run
from tests.tiny import write_tiny_bundle

from routewright.bundle import Bundle
from routewright.calibration import TaskCalibration
from routewright.errors import BundleError, ConfigError, IntegrityError
from routewright.gateway.deploying import Loaded, ReloadResult, load_deployment
from routewright.gateway.engine import Engine
from routewright.gateway.logs import OPERATOR_LOGGER, JsonFormatter
from routewright.gateway.policy_file import admin_token, read_policy_file
from routewright.gateway.reload import Reloader
from routewright.gateway.telemetry import Telemetry


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Two bundles with the same heads; `second` never abstains."""
    folder = tmp_path_factory.mktemp("bundles")
    second = folder / "second"
    write_tiny_bundle(second, tasks=TASKS, calibrations={"category": TaskCalibration()})
    return {"first": gateway_bundle(folder / "first"), "second": second}


class Scene:
    """A policy file that names a link to a bundle, and an engine that serves both."""

    def __init__(self, folder: Path, bundles: Mapping[str, Path]) -> None:
        self.path, self.bundles = folder / "routewright.yaml", bundles
        self.link = folder / "bundle"
        self.write()
        self.point_to(bundles["first"])

    def write(self, **keys: Any) -> None:
        data = {**POLICY, "bundle": "bundle", **keys}
        self.path.write_text(yaml.safe_dump(data), encoding="utf-8")

    def point_to(self, bundle: Path) -> None:
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(bundle)

    def start(self, formatter: JsonFormatter | None = None) -> tuple[Engine, Reloader]:
        loaded = load_deployment(read_policy_file(self.path), num_threads=1)
        engine = Engine(loaded.deployment, loaded.file.settings, Telemetry())
        return engine, Reloader(engine, loaded, formatter)


@pytest.fixture
def scene(tmp_path: Path, bundles: Mapping[str, Path]) -> Scene:
    return Scene(tmp_path, bundles)


@pytest.fixture
def log() -> Iterator[StringIO]:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(OPERATOR_LOGGER)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


def lines(log: StringIO, level: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in found if line["level"] == level]


def swaps(engine: Engine) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["part"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(engine.telemetry.render().decode())
        for sample in family.samples
        if sample.name == "routewright_swaps_total"
    }


def reloaded(scene: Scene, *changes: dict[str, Any] | Path) -> tuple[Engine, ReloadResult]:
    """The engine and the result after a reload with a new policy or another bundle."""

    async def play() -> tuple[Engine, ReloadResult]:
        engine, reloader = scene.start()
        for change in changes:
            if isinstance(change, Path):
                scene.point_to(change)
            else:
                scene.write(**change)
        result = await reloader.reload()
        await engine.close()
        return engine, result

    return run(play())


def test_nothing_is_swapped_when_nothing_has_changed(scene: Scene) -> None:
    engine, result = reloaded(scene)
    assert (result.swapped, result.error, swaps(engine)) == ((), None, {})


def test_a_new_policy_keeps_the_open_model(scene: Scene) -> None:
    before = load_deployment(read_policy_file(scene.path), num_threads=1)
    scene.write(default_model="large")
    after = load_deployment(read_policy_file(scene.path), before=before)
    assert after.deployment.classifier is before.deployment.classifier
    assert after.deployment.tools is before.deployment.tools
    assert after.changes_since(before) == ("policy",)


def test_a_new_policy_serves_the_requests_after_it(scene: Scene) -> None:
    engine, result = reloaded(scene, {"default_model": "large"})
    assert result.swapped == ("policy",)
    assert engine.deployment.policy.default_model == "large"
    assert swaps(engine) == {("policy", "done"): 1}


def test_a_new_bundle_serves_the_requests_after_it(scene: Scene) -> None:
    engine, result = reloaded(scene, scene.bundles["second"])
    assert result.swapped == ("bundle",)
    assert engine.batcher.classifier is engine.deployment.classifier
    threshold = engine.deployment.classifier.heads["category"].calibration.threshold
    assert threshold != 0.6


def test_names_of_a_new_policy_enter_the_log(scene: Scene) -> None:
    formatter = JsonFormatter()

    async def play() -> None:
        engine, reloader = scene.start(formatter)
        rule = {"name": "newcomer", "rules": {"domain": "law"}, "models": ["small"]}
        scene.write(decisions=[rule])
        await reloader.reload()
        await engine.close()

    run(play())
    record = logging.makeLogRecord({"name": "routewright.x", "decision": "newcomer"})
    assert json.loads(formatter.format(record))["decision"] == "newcomer"


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"default_model": "lagre"}, "config", "did you mean 'large'?"),
        ({"gateway": {"htpt": None}}, "config", "gateway.htpt: unknown key"),
        ({"bundle": "nowhere"}, "bundle", "nowhere"),
        (
            {"decisions": [{"name": "d", "rules": {"domain": "mth"}, "models": ["small"]}]},
            "config",
            "there is no category label 'mth'",
        ),
    ],
)
def test_whatever_is_wrong_the_old_one_stays_and_one_line_says_so(
    scene: Scene, log: StringIO, change: dict[str, Any], code: str, message: str
) -> None:
    engine, result = reloaded(scene, change)
    assert (result.swapped, result.code) == ((), code)
    assert message in (result.error or "")
    assert engine.deployment.policy.default_model == "small"
    [line] = lines(log, "error")
    assert line["detail"] == result.error
    part = "bundle" if code == "bundle" else "policy"
    assert swaps(engine) == {(part, "refused"): 1}


def test_a_corrupted_bundle_is_refused_though_its_manifest_is_the_same(
    scene: Scene, tmp_path: Path, log: StringIO
) -> None:
    copy = gateway_bundle(tmp_path / "copy")
    scene.point_to(copy)

    async def play() -> tuple[Engine, ReloadResult]:
        engine, reloader = scene.start()
        graph = copy / "model.int8.onnx"
        graph.write_bytes(graph.read_bytes()[:-1] + b"!")
        result = await reloader.reload()
        assert (await engine.classify(MATH)).answer.sequence["category"].label == "math"
        await engine.close()
        return engine, result

    engine, result = run(play())
    assert result.code == IntegrityError.code
    assert "model.int8.onnx" in (result.error or "")
    assert swaps(engine) == {("bundle", "refused"): 1}


def test_a_bug_in_loading_keeps_the_old_and_shows_no_message(
    scene: Scene, log: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Loaded:
        raise RuntimeError("canary-7f3a")

    monkeypatch.setattr("routewright.gateway.reload.load_deployment", broken)
    _, result = reloaded(scene, {"default_model": "large"})
    assert (result.code, result.swapped) == ("internal", ())
    assert "canary" not in log.getvalue() + str(result.error)
    assert lines(log, "error")[0]["error"]["type"] == "RuntimeError"


def test_settings_that_need_a_restart_are_named(scene: Scene) -> None:
    gateway = {"http": {"port": 8123}, "metrics": None, "reload": {"watch_s": 1}}
    _, result = reloaded(scene, {"gateway": gateway})
    assert set(result.restart) == {
        "gateway.http.port",
        "gateway.metrics",
        "gateway.reload.watch_s",
    }
    assert result.to_dict()["restart_to_apply"] == list(result.restart)


def test_calls_during_a_reload_share_the_one_after_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []

    def counted(*given: Any, **named: Any) -> Loaded:
        loads.append("load")
        return load_deployment(*given, **named)

    monkeypatch.setattr("routewright.gateway.reload.load_deployment", counted)

    async def play() -> list[ReloadResult]:
        engine, reloader = scene.start()
        first = asyncio.create_task(reloader.reload())
        while not loads:
            await asyncio.sleep(0)
        scene.write(default_model="large")
        others = [asyncio.create_task(reloader.reload()) for _ in range(5)]
        results = await asyncio.gather(first, *others)
        await engine.close()
        return results

    first, *others = run(play())
    assert len(loads) == 2
    assert all(result.swapped == ("policy",) for result in others) or first.swapped


def test_a_request_under_way_keeps_its_deployment(scene: Scene) -> None:
    async def play() -> None:
        engine, reloader = scene.start()
        own = engine.deployment
        scene.point_to(scene.bundles["second"])
        slow = asyncio.create_task(engine.classify(MATH * 400, deployment=own))
        await reloader.reload()
        assert engine.deployment is not own
        late = await engine.classify("more", deployment=own)
        assert (await slow).answer.sequence["category"].label == "math"
        assert (
            late.answer.sequence["category"].label
            in own.classifier.heads["category"].task.labels
        )
        await engine.close()

    run(play())


def test_a_changed_file_is_noticed_once_and_a_broken_one_not_tried_again(
    scene: Scene, log: StringIO
) -> None:
    async def play() -> None:
        engine, reloader = scene.start()
        watching = asyncio.create_task(reloader.watch(0.02))
        scene.path.write_text("models: [", encoding="utf-8")
        await _until(lambda: bool(lines(log, "error")))
        await asyncio.sleep(0.2)
        assert len(lines(log, "error")) == 1
        scene.write(default_model="large")
        await _until(lambda: engine.deployment.policy.default_model == "large")
        scene.point_to(scene.bundles["second"])
        old = engine.deployment.classifier
        await _until(lambda: engine.deployment.classifier is not old)
        watching.cancel()
        await engine.close()

    run(play())
    assert len(lines(log, "error")) == 1


def test_a_change_while_the_model_was_being_opened_is_noticed(scene: Scene) -> None:
    async def play() -> None:
        loaded = load_deployment(read_policy_file(scene.path), num_threads=1)
        scene.write(default_model="large")
        engine = Engine(loaded.deployment, loaded.file.settings, Telemetry())
        watching = asyncio.create_task(Reloader(engine, loaded).watch(0.02))
        await _until(lambda: engine.deployment.policy.default_model == "large")
        watching.cancel()
        await engine.close()

    run(play())


def test_a_bundle_that_was_refused_is_taken_once_it_is_mended(
    scene: Scene, tmp_path: Path, log: StringIO
) -> None:
    async def play() -> None:
        engine, reloader = scene.start()
        watching = asyncio.create_task(reloader.watch(0.02))
        scene.write(bundle="later", default_model="large")
        await _until(lambda: bool(lines(log, "error")))
        (tmp_path / "later").symlink_to(scene.bundles["second"])
        await _until(lambda: engine.deployment.policy.default_model == "large")
        watching.cancel()
        await engine.close()

    run(play())


async def _until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


def test_a_deployment_needs_a_bundle_its_secrets_and_the_admin_token(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, shipped_folder: Path
) -> None:
    data = yaml.safe_load(scene.path.read_text(encoding="utf-8"))
    del data["bundle"]
    scene.path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(BundleError, match="this installation has no bundle of its own"):
        load_deployment(read_policy_file(scene.path))
    with pytest.raises(BundleError, match="elsewhere"):
        load_deployment(read_policy_file(scene.path, scene.path.parent / "elsewhere"))
    scene.write(gateway={"reload": {"admin_token": "${TEST_ADMIN_TOKEN}"}})
    file = read_policy_file(scene.path)
    with pytest.raises(ConfigError, match="variable TEST_ADMIN_TOKEN is not set"):
        admin_token(file, {})
    assert admin_token(file, {"TEST_ADMIN_TOKEN": "t"}) == "t"
    assert Bundle.open(file.required_bundle()).tasks
