"""The policy file as a whole: policy and gateway settings, read once and checked together.

Knows files; needs nothing of the gateway extra, so that ``routewright check`` and ``route`` run
on the base install.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from routewright.config import key_hint, read_yaml
from routewright.errors import ConfigError
from routewright.gateway.review_files import check_folder
from routewright.gateway.settings import GatewaySettings, parse_gateway
from routewright.policy.checks import check_labels, check_policy
from routewright.policy.settings import (
    TOP_LEVEL_OF_OTHERS,
    Policy,
    parse_policy,
    policy_schema,
)
from routewright.runtime.classifier import Classifier
from routewright.shipped import DEFAULT, bundle_folder

Signature = tuple[int, int, int]
"""By which a file is known to be another one: time of change in ns, size, inode."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFile:
    """What one reading of the file gave, so that all of it is of the same moment."""

    path: Path
    signature: Signature | None
    """From just before the reading."""
    policy: Policy
    settings: GatewaySettings
    named_bundle: Path | None
    """The folder that the command line gave."""
    bundle: Path | None
    """The bundle's folder: the one of the command line, else the file's own; None for the
    bundle of the package."""
    warnings: tuple[str, ...]
    """Each one line: what is allowed and probably not meant."""

    def read_again(self) -> "PolicyFile":
        """The file as it is now; errors as for `read_policy_file`."""
        return read_policy_file(self.path, self.named_bundle)

    def required_bundle(self) -> Path:
        """The bundle's folder.

        Raises:
            BundleError: it is that of the package, and this installation has none.
        """
        return bundle_folder(self.bundle)

    @property
    def bundle_origin(self) -> str:
        """Which bundle answers, for people."""
        if self.bundle is not None:
            return str(self.bundle)
        why = "" if self.policy.bundle == DEFAULT else f", as {self.path} names none"
        return f"{DEFAULT}, the one of the package{why}"


def read_policy_file(path: Path, bundle: Path | None = None) -> PolicyFile:
    """Read a policy file and check what can be checked without a bundle.

    Args:
        path: the file.
        bundle: a folder to take instead of the file's own.

    Raises:
        ConfigError: the file cannot be read, or the first thing that is wrong in it.
    """
    signature = signature_of(path)
    data, source = read_yaml(path), str(path)
    _refuse_unknown_sections(data, source)
    policy = parse_policy(data, source=source)  # first, as it refuses written-out secrets
    settings = parse_gateway(data, source=source)
    own = policy.bundle
    return PolicyFile(
        path=path,
        signature=signature,
        policy=policy,
        settings=settings,
        named_bundle=bundle,
        bundle=bundle or (None if own in (None, DEFAULT) else path.parent / str(own)),
        warnings=(*check_policy(policy, source=source), *_door_warnings(settings)),
    )


def signature_of(path: Path) -> Signature | None:
    """Of a file, or of what a link leads to; None if there is nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def open_bundle(
    file: PolicyFile, *, num_threads: int | None = None
) -> tuple[Classifier, list[str]]:
    """Open the bundle with all its checks, and check the policy's labels against it.

    Returns:
        The classifier, and warnings about the policy with it.

    Raises:
        BundleError: the folder is no bundle, or not the one that was exported.
        ConfigError: a task or label that it does not have.
    """
    classifier = Classifier.open(file.required_bundle(), num_threads=num_threads)
    return classifier, check_against(file, classifier)


def check_against(file: PolicyFile, classifier: Classifier) -> list[str]:
    """Check the policy's tasks and labels against those of an open bundle; warnings.

    Raises:
        ConfigError: a task or label that the bundle does not have.
    """
    tasks = {name: head.task for name, head in classifier.heads.items()}
    warnings = check_labels(file.policy, tasks, source=str(file.path))
    if file.settings.review is not None and file.policy.tasks.pii not in tasks:
        warnings.append(
            f"gateway.review: the bundle has no task {file.policy.tasks.pii}, so personal data "
            "cannot be taken out of a text, and none is kept"
        )
    return warnings


def review_folder(file: PolicyFile) -> Path | None:
    """Where texts are kept for people to label; None if none are."""
    review = file.settings.review
    return None if review is None else file.path.parent / review.folder


def check_review(file: PolicyFile) -> None:
    """Check the folder of texts to be labelled, without making it.

    Raises:
        ConfigError: it cannot be written to, or others may look into it.
    """
    if (folder := review_folder(file)) is not None:
        check_folder(folder, str(file.path))


def admin_token(file: PolicyFile, environment: Mapping[str, str]) -> str | None:
    """The bearer token of the admin call; None if there is no such call.

    Raises:
        ConfigError: its variable is not set, or empty.
    """
    variable = file.settings.reload.token_variable
    if variable is None:
        return None
    if not environment.get(variable):
        raise ConfigError(
            f"{file.path}: gateway.reload.admin_token: environment variable {variable} is not "
            f"set; export {variable}=..."
        )
    return environment[variable]


def policy_file_schema() -> dict[str, Any]:
    """JSON Schema of the whole file, for editors."""
    schema = policy_schema()
    gateway = TypeAdapter(GatewaySettings).json_schema()
    definitions = gateway.pop("$defs", {})
    if shared := set(definitions) & set(schema["$defs"]):
        raise AssertionError(f"two classes of the file are called {shared}")
    schema["$defs"] |= definitions
    schema["properties"]["gateway"] = gateway
    return schema


def _refuse_unknown_sections(data: Mapping[str, Any], source: str) -> None:
    """Here, as neither the policy nor the gateway's settings know of all the sections.

    Raises:
        ConfigError: the first key of the file that there is not, with the nearest name.
    """
    known = [*(field.name for field in fields(Policy)), *sorted(TOP_LEVEL_OF_OTHERS)]
    for key in data:
        if key not in known:
            raise ConfigError(f"{source}: {key}: unknown key; {key_hint(str(key), known)}")


def _door_warnings(settings: GatewaySettings) -> list[str]:
    doors = (settings.http, settings.ext_proc, settings.api)
    if any(door is not None for door in doors):
        return []
    return ["gateway: http, ext_proc and api are null, so no request can come in"]
