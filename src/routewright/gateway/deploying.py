"""From a policy file to a deployment: bundle opened and proved, labels checked, tools embedded.

Nothing here is half done: a deployment is whole, or there is an error of one line.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from routewright.bundle import MANIFEST_FILE, Bundle, manifest_digest
from routewright.config import to_plain
from routewright.gateway.engine import Deployment
from routewright.gateway.policy_file import (
    PolicyFile,
    Signature,
    check_against,
    signature_of,
)
from routewright.gateway.settings import GatewaySettings
from routewright.gateway.threads import SPINNING
from routewright.gateway.tool_ranking import ToolIndex
from routewright.policy.settings import resolve_secrets
from routewright.runtime.classifier import Classifier

Part = Literal["bundle", "policy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A deployment with the files it came from."""

    file: PolicyFile
    deployment: Deployment
    manifest_signature: Signature | None
    """From just before the manifest was read."""
    num_threads: int | None
    """Of a forward pass."""
    warnings: tuple[str, ...]

    def changes_since(self, before: "Loaded") -> tuple[Part, ...]:
        """Which parts are others than `before`."""
        found: list[Part] = []
        if self.deployment.manifest_sha256 != before.deployment.manifest_sha256:
            found.append("bundle")
        keys, keys_before = self.deployment.api_keys, before.deployment.api_keys
        if self.file.policy != before.file.policy or keys != keys_before:
            found.append("policy")
        return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReloadResult:
    """What became of a wish for a new bundle and policy."""

    swapped: tuple[Part, ...] = ()
    """Parts put in place; none if nothing had changed."""
    restart: tuple[str, ...] = ()
    """Keys whose new values only a restart applies."""
    warnings: tuple[str, ...] = ()
    code: str | None = None
    """Of the error for which everything stayed as it was."""
    error: str | None = None
    """One line, with the place in the operator's files."""
    duration_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; ``error`` only if there is one."""
        failed = {"error": {"code": self.code, "message": self.error}} if self.error else {}
        return {
            "swapped": list(self.swapped),
            "restart_to_apply": list(self.restart),
            "warnings": list(self.warnings),
            "duration_s": round(self.duration_s, 3),
            **failed,
        }


def load_deployment(
    file: PolicyFile,
    *,
    num_threads: int | None = None,
    before: Loaded | None = None,
    with_secrets: bool = True,
) -> Loaded:
    """Open and check everything that a policy file names.

    Args:
        file: as `read_policy_file` gave it.
        num_threads: of a forward pass; None takes one for each physical core.
        before: a model with the same manifest is taken from here, after its files are checked.
        with_secrets: without them no model server can be asked.

    Raises:
        ConfigError: a secret is missing, or the bundle lacks a label.
        BundleError: the bundle is not the one that was exported.
    """
    api_keys = (
        resolve_secrets(file.policy, os.environ, source=str(file.path)) if with_secrets else {}
    )
    folder = file.required_bundle()
    signature = signature_of(folder / MANIFEST_FILE)
    digest = manifest_digest(folder)
    if before is not None and before.deployment.manifest_sha256 == digest:
        Bundle.open(folder)
        classifier = before.deployment.classifier
    else:
        classifier = Classifier.open(folder, num_threads=num_threads, spinning=SPINNING)
    warnings = (*file.warnings, *check_against(file, classifier))
    deployment = Deployment(
        policy=file.policy,
        classifier=classifier,
        bundle=folder,
        manifest_sha256=digest,
        api_keys=api_keys,
        tools=_tools(file, classifier, before),
    )
    return Loaded(
        file=file,
        deployment=deployment,
        manifest_signature=signature,
        num_threads=num_threads,
        warnings=warnings,
    )


def changed_settings(before: GatewaySettings, now: GatewaySettings) -> tuple[str, ...]:
    """Dotted keys of the ``gateway`` section whose values differ."""
    return tuple(_differences(to_plain(before), to_plain(now), "gateway"))


def _tools(file: PolicyFile, classifier: Classifier, before: Loaded | None) -> ToolIndex:
    catalogue = file.policy.tools.catalogue
    if (
        before is not None
        and before.deployment.classifier is classifier
        and before.file.policy.tools.catalogue == catalogue
    ):
        return before.deployment.tools
    return ToolIndex.build(
        catalogue, lambda texts: [raw.embedding for raw in classifier.raw(texts)]
    )


def _differences(before: Any, now: Any, key: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in {**before, **now}:
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}")
    elif before != now:
        yield key
