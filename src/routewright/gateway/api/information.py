"""What the gateway says about itself: models, tasks, labels, thresholds; no paths, no keys."""

import platform
from importlib.metadata import version
from typing import Any
from weakref import WeakKeyDictionary

from routewright.bundle import Bundle, BundleManifest
from routewright.config import to_plain
from routewright.errors import BundleError
from routewright.gateway.api.answers import ODDS, attack_threshold
from routewright.gateway.bodies.model_list import model_list
from routewright.gateway.engine import Deployment, Engine
from routewright.policy.settings import Policy
from routewright.runtime.classifier import Classifier
from routewright.runtime.heads import Head

_CAPABILITIES = {
    "domain": "intent_classification",
    "pii": "pii_detection",
    "jailbreak": "security_detection",
}
"""The original router's words for what a task is for, by the policy's question."""


class Information:
    """Answers about whatever deployment is in place."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._manifests: WeakKeyDictionary[Classifier, BundleManifest] = WeakKeyDictionary()
        # Read now: the folder may hold a newer bundle later.
        self._manifest(engine.deployment)

    def health(self) -> dict[str, Any]:
        """Whether the process answers at all."""
        return {"status": "healthy", "service": "routewright"}

    def readiness(self) -> dict[str, Any]:
        """Whether requests shall come here."""
        ready = self._engine.ready
        return {"status": "ready" if ready else "not_ready", "ready": ready}

    def models(self) -> dict[str, Any]:
        """Names that a client may write as ``model``, in OpenAI's shape."""
        return model_list(self._engine.deployment.policy)

    def model(self, name: str) -> dict[str, Any] | None:
        """One of them; None if there is none of that name."""
        data: list[dict[str, Any]] = self.models()["data"]
        return next((model for model in data if model["id"] == name), None)

    def classifiers(self) -> dict[str, Any]:
        """The original's list of models: one entry a task, though one model answers all."""
        deployment = self._engine.deployment
        bundle = self._bundle(deployment)
        return {
            "models": [
                {
                    "name": name,
                    "type": _capability(deployment.policy, name, head),
                    "loaded": True,
                    "categories": list(head.task.labels),
                    "metadata": {
                        "bundle": bundle["name"],
                        "precision": bundle.get("precision"),
                        **_calibration(head),
                    },
                }
                for name, head in deployment.classifier.heads.items()
            ],
            "system": {
                "routewright_version": version("routewright"),
                "python_version": platform.python_version(),
                "architecture": platform.machine(),
                "os": platform.system().lower(),
            },
        }

    def classifier(self) -> dict[str, Any]:
        """The bundle in place: tasks, labels, calibration and thresholds; and the limits."""
        deployment, settings = self._engine.deployment, self._engine.settings
        policy, heads = deployment.policy, deployment.classifier.heads
        domain, pii = heads.get(policy.tasks.domain), heads.get(policy.tasks.pii)
        threshold = policy.abstention_thresholds.get(policy.tasks.domain)
        if threshold is None and domain is not None:
            threshold = domain.calibration.threshold
        labels = domain.task.labels if domain is not None else ()
        return {
            "status": "active" if self._engine.ready else "starting",
            "bundle": self._bundle(deployment),
            "capabilities": [_capability(policy, name, h) for name, h in heads.items()],
            "questions": to_plain(policy.tasks),
            "tasks": [_task(name, head) for name, head in heads.items()],
            "categories": [{"name": name, "threshold": threshold} for name in labels],
            "pii_types": list(pii.task.labels) if pii is not None else [],
            "security": self._security(deployment),
            "limits": {
                "max_body_bytes": settings.max_body_bytes,
                "max_texts": settings.max_texts,
                "deadline_s": settings.deadline_s,
            },
        }

    def _security(self, deployment: Deployment) -> dict[str, Any]:
        policy = deployment.policy
        if policy.tasks.jailbreak not in deployment.classifier.heads:
            return {"jailbreak_detection": False, "enabled": False, "detection_types": []}
        guard = policy.guards.jailbreak
        return {
            "jailbreak_detection": True,
            "enabled": guard is not None and guard.mode == "block",
            "detection_types": ["jailbreak"],
            "thresholds": {name: attack_threshold(deployment, name) for name in ODDS},
        }

    def _bundle(self, deployment: Deployment) -> dict[str, Any]:
        manifest = self._manifest(deployment)
        if manifest is None:
            return {"name": deployment.bundle.name}
        return {
            "name": manifest.name,
            "created": manifest.created,
            "architecture": manifest.model.architecture,
            "num_parameters": manifest.model.num_parameters,
            "precision": manifest.default_precision,
        }

    def _manifest(self, deployment: Deployment) -> BundleManifest | None:
        """Of the bundle that the model was opened from, if it is still there."""
        classifier = deployment.classifier
        if classifier not in self._manifests:
            try:
                opened = Bundle.open(deployment.bundle, verify=False)
            except BundleError:
                return None
            self._manifests[classifier] = opened.manifest
        return self._manifests[classifier]


def _capability(policy: Policy, name: str, head: Head) -> str:
    for question, word in _CAPABILITIES.items():
        if getattr(policy.tasks, question) == name:
            return word
    return f"{head.task.kind}_classification"


def _calibration(head: Head) -> dict[str, Any]:
    point = head.calibration.operating_point
    return {
        "threshold": head.calibration.threshold,
        "temperature": head.calibration.temperature,
        "beta": to_plain(head.calibration.beta),
        "operating_point": None if point is None else to_plain(point),
    }


def _task(name: str, head: Head) -> dict[str, Any]:
    task = head.task
    plain = {"name": name, "kind": task.kind, "labels": list(task.labels)}
    return {**plain, "positive": task.positive, **_calibration(head)}
