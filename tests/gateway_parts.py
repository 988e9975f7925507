"""A whole gateway without sockets: tiny model, policy, engine, pipeline.

The model's answers are known beforehand (`tests.tiny`): ``q`` makes a text mathematics, ``z`` a
calculation, ``x`` an attack, and digits are telephone numbers.
"""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from routewright.calibration import TaskCalibration
from routewright.decoding import FloatArray
from routewright.gateway.engine import Deployment, Engine
from routewright.gateway.exchange import Forward, Immediate
from routewright.gateway.observation import RequestRecord, counting
from routewright.gateway.pipeline import Pipeline, PipelineHandler
from routewright.gateway.settings import parse_gateway
from routewright.gateway.telemetry import Telemetry
from routewright.gateway.tool_ranking import ToolIndex
from routewright.gateway.watching import Watcher
from routewright.policy.checks import check_labels, check_policy
from routewright.policy.settings import parse_policy
from routewright.runtime.classifier import Classifier
from routewright.tasks import Task
from tests.tiny import write_tiny_bundle

MATH = "qqqq what is the sum"
CALCULATION = "zzzz compute that"
ATTACK = "xxxx xxxx"
NEUTRAL = "tell me more"
UNSURE = "q" + "a" * 18
"""Mathematics and other are about as probable."""

EVERYBODY = ("user", "tool", "assistant", "system", "definition")
"""Roles of the jailbreak guard."""

TASKS = (
    Task(name="category", kind="sequence", labels=("math", "law", "other")),
    Task(
        name="intent",
        kind="sequence",
        labels=("calculation", "scheduling", "no_function_needed"),
    ),
    Task(
        name="jailbreak",
        kind="sequence",
        labels=("benign", "jailbreak"),
        positive="jailbreak",
        windows="maximum",
    ),
    Task(name="pii", kind="token", labels=("PHONE_NUMBER", "US_SSN")),
)
POLICY: Mapping[str, Any] = {
    "models": {
        "small": {"endpoints": "http://127.0.0.1:9"},
        "large": {"endpoints": "http://127.0.0.1:9", "reasoning_family": "qwen3"},
    },
    "default_model": "small",
    "decisions": [
        {
            "name": "maths",
            "rules": {"domain": "math"},
            "models": ["large", "small"],
            "reasoning": True,
            "system_prompt": "Show every step.",
        }
    ],
    "guards": {"jailbreak": {"threshold": 0.5}, "pii": {"default": "mask"}},
    "tools": {
        "min_similarity": 0.0,
        "catalogue": [
            {"name": "calculator", "description": "compute", "intents": ["calculation"]},
            {"name": "calendar", "description": "dates", "intents": ["scheduling"]},
        ],
    },
}

T = TypeVar("T")


def gateway_bundle(path: Path) -> Path:
    """Write the bundle; categories under .6 abstain."""
    write_tiny_bundle(
        path, tasks=TASKS, calibrations={"category": TaskCalibration(threshold=0.6)}
    )
    return path


@cache
def classifier() -> Classifier:
    """The model, opened once for all tests."""
    return Classifier.open(gateway_bundle(Path(mkdtemp()) / "bundle"), num_threads=1)


class BrokenBackend:
    """A model that fails whatever it is asked."""

    def run(
        self, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64]
    ) -> dict[str, FloatArray]:
        raise RuntimeError("canary: the prompt was here")


def broken_classifier() -> Classifier:
    """The model, with a backend that fails."""
    whole = classifier()
    return Classifier(whole.encoder, whole.heads, BrokenBackend())


def deployment(
    policy: Mapping[str, Any] | None = None, model: Classifier | None = None, **keys: str
) -> Deployment:
    """A deployment of `POLICY` with the top-level keys of `policy` in place of its own."""
    data = {**POLICY, **(policy or {})}
    parsed = parse_policy(data, source="test.yaml")
    check_policy(parsed, source="test.yaml")
    opened = model or classifier()
    tasks = {name: head.task for name, head in opened.heads.items()}
    check_labels(parsed, tasks, source="test.yaml")

    def embed(texts: list[str]) -> list[FloatArray]:
        return [raw.embedding for raw in classifier().raw(texts)]

    return Deployment(
        policy=parsed,
        classifier=opened,
        bundle=Path("bundle"),
        api_keys=keys,
        tools=ToolIndex.build(parsed.tools.catalogue, embed),
    )


@dataclass
class Gateway:
    """An engine and its pipeline; what ended is in `records`."""

    engine: Engine
    telemetry: Telemetry
    records: list[RequestRecord] = field(default_factory=list)
    watchers: tuple[Watcher, ...] = ()

    @property
    def pipeline(self) -> Pipeline:
        observers = (self.records.append, counting(self.telemetry))
        return Pipeline(self.engine, observers, watchers=self.watchers)

    async def ask(
        self, body: Mapping[str, Any], path: str = "/v1/chat/completions", **headers: str
    ) -> "Asked":
        """Send a request as far as the decision; names of headers with ``_`` for ``-``."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        handler = self.pipeline.handler("http")
        pseudo = {":path": path, ":method": "POST"}
        raw = json.dumps(body).encode()
        return Asked(handler, await handler.on_request({**pseudo, **given}, raw))


@dataclass
class Asked:
    """A request that was decided about."""

    handler: PipelineHandler
    result: Forward | Immediate

    @property
    def forward(self) -> Forward:
        assert isinstance(self.result, Forward), self.result
        return self.result

    @property
    def immediate(self) -> Immediate:
        assert isinstance(self.result, Immediate), self.result
        return self.result

    @property
    def body(self) -> dict[str, Any]:
        """What goes to the model, or the answer that the gateway gives itself."""
        loaded: dict[str, Any] = json.loads(self.result.body or b"null")
        return loaded

    async def told(self) -> Mapping[str, str]:
        """The headers that the client gets with a model's answer."""
        plan = await self.handler.on_response_headers({":status": "200"})
        assert not isinstance(plan, Immediate)
        return plan.set_headers


def make_gateway(
    policy: Mapping[str, Any] | None = None,
    model: Classifier | None = None,
    settings: Mapping[str, Any] | None = None,
    **keys: str,
) -> Gateway:
    """A gateway; call inside the event loop that shall run it."""
    parsed = parse_gateway({"gateway": dict(settings or {})}, source="test.yaml")
    telemetry = Telemetry()
    engine = Engine(deployment(policy, model, **keys), parsed, telemetry)
    return Gateway(engine, telemetry)


def run(scene: Coroutine[Any, Any, T]) -> T:
    """Run a scene in an event loop of its own."""
    return asyncio.run(scene)


def chat(*texts: str, **fields: Any) -> dict[str, Any]:
    """A chat request whose messages are the user's and the assistant's in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"model": "auto", "messages": messages, **fields}
