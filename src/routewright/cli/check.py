"""``routewright check``: whether a policy file means what it says, against its bundle."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from routewright.cli.bundle_names import bundle_named
from routewright.errors import ConfigError
from routewright.shipped import DEFAULT, is_installed

if TYPE_CHECKING:
    from routewright.gateway.policy_file import PolicyFile
    from routewright.runtime.classifier import Classifier


def check(
    config: Annotated[Path | None, typer.Option(help="The policy file.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            parser=bundle_named,
            metavar="BUNDLE",
            help="Bundle folder instead of the file's own; without any, that of the package.",
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of policy files instead.")
    ] = False,
) -> None:
    """Validate a policy file, its secrets, its bundle (hashes, golden cases) and its labels."""
    from routewright.gateway.policy_file import policy_file_schema

    if schema:
        sys.stdout.write(json.dumps(policy_file_schema(), indent=1) + "\n")
        return
    if config is None:
        raise ConfigError("name the policy file: --config routewright.yaml")
    check_files(config, bundle, Console(highlight=False))


def check_files(config: Path, bundle: Path | None, console: Console) -> None:
    """Check a policy file with all that it names, and show it.

    Raises:
        RoutewrightError: the first thing that is wrong.
    """
    from routewright.gateway.drift.reference import check_reference
    from routewright.gateway.policy_file import (
        admin_token,
        check_review,
        open_bundle,
        read_policy_file,
    )
    from routewright.policy.settings import resolve_secrets

    file = read_policy_file(config, bundle)
    resolve_secrets(file.policy, os.environ, source=str(config))
    admin_token(file, os.environ)
    check_review(file)
    warnings, classifier = list(file.warnings), None
    if file.bundle is None and file.policy.bundle is None and not is_installed(DEFAULT):
        warnings.append(
            "bundle: none named, and this installation has none of its own, so tasks and "
            "labels are not checked"
        )
    else:
        classifier, more = open_bundle(file)
        check_reference(file, classifier)
        warnings += more
    console.print(_table(file, classifier))
    for warning in warnings:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)
    console.print(Text(f"{config}: valid", style="green"), soft_wrap=True)


def _table(file: "PolicyFile", classifier: "Classifier | None") -> Table:
    policy, settings = file.policy, file.settings
    table = Table("part", "what", show_header=False)
    for name, model in policy.models.items():
        mark = " (default)" if name == policy.default_model else ""
        where = ", ".join(e.url for e in model.endpoints)
        table.add_row(Text("model"), Text(f"{name}{mark}: {where}"))
    for number, decision in enumerate(policy.ranked, start=1):
        models = ", ".join(c.model for c in decision.models)
        text = f"{number}. {decision.name} (priority {decision.priority}): {models}"
        table.add_row(Text("decision"), Text(text))
    for name in ("jailbreak", "pii"):
        guard = getattr(policy.guards, name)
        shown = "none" if guard is None else f"{guard.mode}, on_error: {guard.on_error}"
        table.add_row(Text("guard"), Text(f"{name}: {shown}"))
    if policy.tools.catalogue:
        tools = ", ".join(t.name for t in policy.tools.catalogue)
        table.add_row(Text("tools"), Text(tools))
    for name in ("http", "ext_proc", "api", "metrics"):
        door = getattr(settings, name)
        shown = "closed" if door is None else f"{door.host}:{door.port}"
        table.add_row(Text("door"), Text(f"{name}: {shown}"))
    if classifier is not None:
        table.add_row(
            Text("bundle"), Text(f"hashes and golden cases pass: {file.bundle_origin}")
        )
        for name, head in classifier.heads.items():
            threshold = head.calibration.threshold
            shown = "no threshold" if threshold is None else f"threshold {threshold:.4g}"
            kind = f"{len(head.task.labels)} labels" if head.decoder is None else "entities"
            table.add_row(Text("task"), Text(f"{name}: {kind}, {shown}"))
    return table
