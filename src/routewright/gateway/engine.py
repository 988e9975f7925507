"""What all doors share: the policy and the model in place now, the batcher, the metrics.

A `Deployment` is one policy with one model. A request takes the one in place when it arrives
and keeps it to its end, so a swap in the middle changes nothing about it.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from routewright.gateway.conversations import Conversations
from routewright.gateway.settings import GatewaySettings
from routewright.gateway.telemetry import Telemetry, Vocabulary
from routewright.gateway.tool_ranking import ToolIndex
from routewright.policy.settings import Policy
from routewright.runtime.batcher import Batcher
from routewright.runtime.classifier import Classifier
from routewright.runtime.work import Classified


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A checked policy and the opened model it was checked against."""

    policy: Policy
    classifier: Classifier
    bundle: Path
    """The folder that `classifier` was opened from."""
    manifest_sha256: str = ""
    """Of the bundle's manifest, which holds the hashes of all its files."""
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """For the servers of the models, by name of the model."""
    tools: ToolIndex = field(default_factory=ToolIndex)

    def vocabulary(self) -> Vocabulary:
        """The names that may occur in metrics and logs."""
        heads = self.classifier.heads
        entity_types = {
            label for head in heads.values() if head.decoder for label in head.task.labels
        }
        return Vocabulary(
            decisions=[d.name for d in self.policy.decisions],
            models=list(self.policy.models),
            tasks=list(heads),
            entity_types=sorted(entity_types),
        )


class Engine:
    """Answers for every door; belongs to one event loop."""

    def __init__(
        self, deployment: Deployment, settings: GatewaySettings, telemetry: Telemetry
    ) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self.ready = False
        """Whether requests shall come here."""
        self.batcher = Batcher(deployment.classifier, settings.batching)
        self.conversations = Conversations(ttl_s=deployment.policy.conversation.session_ttl_s)
        self._deployment = deployment
        self._memory = _Memory(settings.remembered_texts)
        self._followers: list[Callable[[Deployment], None]] = []
        telemetry.extend(deployment.vocabulary())
        telemetry.watch_engine(self._counters)

    @property
    def deployment(self) -> Deployment:
        """The one that requests arriving now are served by."""
        return self._deployment

    def swap(self, deployment: Deployment) -> None:
        """Serve requests arriving from now on by `deployment`."""
        self.telemetry.extend(deployment.vocabulary())
        if deployment.classifier is not self._deployment.classifier:
            self.batcher.swap(deployment.classifier)
            self._memory = _Memory(self.settings.remembered_texts)
        self.conversations.ttl_s = deployment.policy.conversation.session_ttl_s
        self._deployment = deployment
        for follow in self._followers:
            follow(deployment)

    def follow_swaps(self, follow: Callable[[Deployment], None]) -> None:
        """Tell `follow`, at every swap, what requests arriving from then on are served by."""
        self._followers.append(follow)

    async def classify(
        self,
        text: str,
        *,
        deployment: Deployment | None = None,
        deadline_s: float | None = None,
    ) -> Classified:
        """The answer about a text, from memory if it was asked before.

        Args:
            text: of any length.
            deployment: whose model answers; None takes the one of now.
            deadline_s: seconds from now; None takes that of the settings.

        Raises:
            ServingError: see `Batcher.run`.
        """
        classifier = (deployment or self._deployment).classifier
        memory = self._memory
        remembers = classifier is self.batcher.classifier
        if remembers and (known := memory.find(text)) is not None:
            return known
        limit_s = self.settings.deadline_s if deadline_s is None else deadline_s
        found = await self.batcher.run(text, deadline_s=limit_s, classifier=classifier)
        if remembers:
            memory.keep(text, found)
        return found

    async def close(self) -> None:
        """Answer what waits, then stop."""
        self.ready = False
        await self.batcher.close(drain_s=self.settings.drain_s)

    def _counters(self) -> Mapping[str, float]:
        counters = self.batcher.counters
        return {
            "batches_total": counters.num_batches,
            "texts_total": counters.num_texts,
            "tokens_total": counters.num_tokens,
            "dropped_texts_total": counters.num_dropped,
            "refused_texts_total": counters.num_refused,
            "queue_seconds_total": counters.queue_s,
            "inference_seconds_total": counters.inference_s,
            "queued_tokens": self.batcher.queued_tokens,
        }


class _Memory:
    """The newest answers, found by a hash under a key of this process; holds no text."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._key = os.urandom(32)
        self._answers: OrderedDict[bytes, Classified] = OrderedDict()

    def find(self, text: str) -> Classified | None:
        """The answer about an equal text, without times: it took none."""
        if not self._size:
            return None
        name = self._name(text)
        if (known := self._answers.get(name)) is None:
            return None
        self._answers.move_to_end(name)
        return known

    def keep(self, text: str, found: Classified) -> None:
        if not self._size:
            return
        answer = replace(found.answer, text="", timings_ms={})
        self._answers[self._name(text)] = replace(found, answer=answer)
        if len(self._answers) > self._size:
            self._answers.popitem(last=False)

    def _name(self, text: str) -> bytes:
        data = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, key=self._key, digest_size=16).digest()
