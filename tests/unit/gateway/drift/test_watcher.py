"""What of the requests of a gateway is counted, and what a scraper gets to see of it."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.drift_parts import ANOTHER, MANIFEST, counted, mixed
from tests.gateway_parts import (
    ATTACK,
    MATH,
    NEUTRAL,
    Gateway,
    broken_classifier,
    chat,
    deployment,
    make_gateway,
    run,
)

from routewright.errors import ConfigError
from routewright.gateway.drift.reference import ReferenceFile
from routewright.gateway.drift.watcher import Drift
from routewright.gateway.engine import Deployment
from routewright.gateway.exchange import Outcome
from routewright.gateway.logs import OPERATOR_LOGGER, JsonFormatter
from routewright.runtime.classifier import Classifier

SSN = "canary-7f3a my number is 078-05-1120"


class Scene:
    """A gateway that is watched; `file` keeps its reference."""

    def __init__(
        self,
        window: int = 20,
        file: ReferenceFile | None = None,
        model: Classifier | None = None,
    ) -> None:
        self.gateway: Gateway = make_gateway(model=model)
        self.swap(MANIFEST)
        engine = self.gateway.engine
        self.drift = Drift(window, engine.deployment, file)
        engine.follow_swaps(self.drift.swap)
        self.gateway.watchers = (self.drift,)
        self.gateway.telemetry.watch_drift(self.drift.samples)

    def swap(self, manifest: str) -> Deployment:
        other = replace(self.gateway.engine.deployment, manifest_sha256=manifest)
        self.gateway.engine.swap(other)
        return other

    async def ask(self, *texts: str, times: int = 1) -> None:
        for _ in range(times):
            for text in texts:
                asked = await self.gateway.ask(chat(text))
                asked.handler.on_end(Outcome.COMPLETE)

    @property
    def requests(self) -> tuple[float, float]:
        found = gauges(self.gateway.telemetry.render())
        return found["drift_requests", "reference"], found["drift_requests", "recent"]

    async def close(self) -> None:
        self.drift.close()
        await self.gateway.engine.close()


def values_of(labels: Mapping[str, str]) -> list[str]:
    return [labels[name] for name in ("task", "of", "which") if name in labels]


def gauges(metrics: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("routewright_"), *values_of(sample.labels)): sample.value
        for family in text_string_to_metric_families(metrics.decode())
        for sample in family.samples
        if family.name.startswith("routewright_drift")
    }


@pytest.fixture
def file(tmp_path: Path) -> ReferenceFile:
    return ReferenceFile(tmp_path / "drift.json", "test.yaml: gateway.drift.reference")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, logger=OPERATOR_LOGGER):
        yield caplog


def events(log: pytest.LogCaptureFixture) -> Sequence[str]:
    """What an operator reads of the lines about drift."""
    lines = [r for r in log.records if r.name == OPERATOR_LOGGER]
    return [json.loads(JsonFormatter().format(line))["event"] for line in lines]


def test_the_gauges_show_what_has_changed_and_what_has_not() -> None:
    async def play() -> tuple[dict[tuple[str, ...], float], ...]:
        scene = Scene(window=200)
        await scene.ask(MATH, NEUTRAL, times=100)
        assert scene.requests == (200, 0)
        before = gauges(scene.gateway.telemetry.render())
        await scene.ask(MATH, NEUTRAL, times=100)
        same = gauges(scene.gateway.telemetry.render())
        await scene.ask(NEUTRAL, SSN, times=100)
        other = gauges(scene.gateway.telemetry.render())
        await scene.close()
        return before, same, other

    before, same, other = run(play())
    assert list(before) == [("drift_requests", "reference"), ("drift_requests", "recent")]
    shown = {(task, of) for name, task, of in (key for key in same if len(key) == 3)}
    assert shown == {
        ("category", "label"), ("category", "confidence"), ("intent", "label"),
        ("intent", "confidence"), ("jailbreak", "label"), ("jailbreak", "confidence"),
        ("pii", "entities"), ("none", "tokens"),
    }  # fmt: skip
    assert max(same["drift_psi", task, of] for task, of in shown) < 0.01
    assert other["drift_psi", "pii", "entities"] > 0.25


def test_the_steps_of_a_tool_loop_count_as_the_one_turn_that_they_are() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    async def play() -> None:
        scene = Scene()
        body = chat(MATH)
        await scene.ask(MATH)
        body["messages"] += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "42"},
        ]
        (await scene.gateway.ask(body)).handler.on_end(Outcome.COMPLETE)
        assert scene.requests == (1, 0)
        await scene.close()

    run(play())


def test_blocked_requests_count_and_those_without_text_or_answer_do_not() -> None:
    async def play() -> None:
        scene = Scene()
        await scene.ask(ATTACK, "")
        assert scene.requests == (1, 0)
        await scene.close()
        broken = Scene(model=broken_classifier())
        await broken.ask(MATH)
        assert broken.requests == (0, 0)
        await broken.close()

    run(play())


def test_a_policy_with_other_guards_changes_nothing_about_the_counts() -> None:
    async def play() -> None:
        scene = Scene()
        await scene.ask(MATH, ATTACK, times=20)
        before = scene.drift.samples()["drift_psi"]
        unguarded = replace(deployment({"guards": {}}), manifest_sha256=MANIFEST)
        scene.gateway.engine.swap(unguarded)
        await scene.ask(MATH, ATTACK, times=10)
        assert scene.drift.samples()["drift_psi"] == before
        await scene.close()

    run(play())


def test_another_bundle_begins_anew_and_late_answers_of_the_old_one_do_not_count(
    log: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        scene = Scene()
        await scene.ask(MATH, times=40)
        assert scene.drift.samples()["drift_psi"]
        late = await scene.gateway.ask(chat(MATH))
        scene.swap(ANOTHER)
        assert scene.requests == (0, 0)
        assert not scene.drift.samples()["drift_psi"]
        late.handler.on_end(Outcome.COMPLETE)
        assert scene.requests == (0, 0)
        await scene.ask(NEUTRAL, times=40)
        assert scene.requests == (20, 20)
        await scene.close()

    run(play())
    complete = "drift reference complete requests=20"
    anew = "drift reference starts anew: another bundle is in place"
    assert events(log) == [complete, anew, complete]


def test_a_reference_is_written_once_and_read_at_the_next_start(
    file: ReferenceFile, log: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        first = Scene(file=file)
        await first.ask(MATH, times=19)
        assert not file.path.exists()
        await first.ask(MATH, times=1)
        await first.close()
        written = file.path.read_bytes()
        second = Scene(file=file)
        assert second.requests == (20, 0)
        await second.ask(NEUTRAL, times=30)
        assert second.requests == (20, 20)
        assert max(value for _, value in second.drift.samples()["drift_psi"]) > 0.25
        await second.close()
        assert file.path.read_bytes() == written

    run(play())
    assert events(log) == ["drift reference complete requests=20", "drift reference written"]


def test_the_file_of_another_bundle_makes_way_once_there_is_a_new_reference(
    file: ReferenceFile,
) -> None:
    """So that whoever goes back to the old bundle before that finds its reference."""

    async def play() -> None:
        scene = Scene(file=file)
        await scene.ask(MATH, times=20)
        scene.swap(ANOTHER)
        await scene.ask(MATH)
        await scene.close()
        back = Scene(file=file)
        assert back.requests == (20, 0)
        await back.close()

    run(play())
    assert json.loads(file.path.read_text())["manifest_sha256"] == MANIFEST

    async def go_on() -> None:
        scene = Scene(file=file)
        scene.swap(ANOTHER)
        await scene.ask(MATH, times=20)
        await scene.close()

    run(go_on())
    assert json.loads(file.path.read_text())["manifest_sha256"] == ANOTHER
    aside = file.path.with_name(f"drift.json.{MANIFEST[:12]}")
    assert json.loads(aside.read_text())["manifest_sha256"] == MANIFEST


def test_a_start_with_another_bundle_begins_anew_and_says_so(
    file: ReferenceFile, log: pytest.LogCaptureFixture
) -> None:
    file.save(ANOTHER, counted(mixed(20, math=0.5)))

    async def play() -> None:
        scene = Scene(file=file)
        assert scene.requests == (0, 0)
        await scene.close()

    run(play())
    assert events(log) == ["drift reference is of another bundle; a new one is begun"]


def test_a_place_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    async def play() -> None:
        with pytest.raises(ConfigError, match="cannot be written"):
            Scene(file=ReferenceFile(tmp_path / "file" / "drift.json", "test.yaml"))

    run(play())


def test_a_disk_that_fails_later_is_logged_and_the_gauges_go_on(
    file: ReferenceFile, log: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        scene = Scene(file=file)
        await scene.ask(MATH, times=19)
        file.path.mkdir()
        await scene.ask(MATH, times=21)
        assert scene.drift.samples()["drift_psi"]
        await scene.close()

    run(play())
    assert events(log) == [
        "drift reference complete requests=20",
        "drift reference not written",
    ]
    (line,) = [r for r in log.records if r.levelname == "ERROR"]
    assert str(file.path) in json.loads(JsonFormatter().format(line))["detail"]


def test_nothing_of_a_text_is_in_the_file_the_metrics_or_the_log(
    file: ReferenceFile, log: pytest.LogCaptureFixture
) -> None:
    async def play() -> bytes:
        scene = Scene(file=file)
        await scene.ask(SSN, "canary-7f3a qqqq", times=20)
        metrics = scene.gateway.telemetry.render()
        await scene.close()
        return metrics

    metrics = run(play())
    assert gauges(metrics)["drift_requests", "recent"] == 20
    for said in (metrics.decode(), file.path.read_text(), log.text):
        assert "canary" not in said
        assert "078-05" not in said
