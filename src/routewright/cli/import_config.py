"""``routewright import-config``: the original router's configuration as ours."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from routewright.errors import ConfigError


def import_config(
    old: Annotated[Path, typer.Argument(metavar="OLD.yaml", help="Its v0.1 configuration.")],
    out: Annotated[Path, typer.Option(help="Where to write ours.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Translate a vLLM Semantic Router v0.1 configuration; list what has no equivalent."""
    import yaml

    from routewright.config import read_yaml, write_text
    from routewright.policy.checks import check_policy
    from routewright.policy.settings import parse_policy
    from routewright.policy.vllm_sr import import_policy

    if out.exists() and not force:
        raise ConfigError(f"--out {out}: exists; name another file or pass --force")
    data = read_yaml(old)
    imported = import_policy(data, source=str(old), tools=_tools_database(data, old.parent))
    source = f"{old}, translated"  # nothing is written yet that a message could point to
    warnings = check_policy(parse_policy(imported.data, source=source), source=source)
    head = (
        f"# From {old.name} by routewright import-config.\n"
        "# bundle: PATH   # the model; or pass --bundle\n"
    )
    body = yaml.safe_dump(imported.data, sort_keys=False, allow_unicode=True, width=96)
    write_text(out, head + body)
    models, decisions = imported.data["models"], imported.data.get("decisions", [])
    lines = [f"{out}: {len(models)} models, {len(decisions)} decisions"]
    lines += [f"  {note}" for note in (*imported.notes, *warnings)]
    sys.stdout.write("\n".join([*lines, f"next: routewright check --config {out}"]) + "\n")


def _tools_database(data: dict[str, Any], folder: Path) -> list[Any] | None:
    """What the old file's ``tools_db_path`` holds, looked for from its folder and from here."""
    tools = data.get("tools")
    path = tools.get("tools_db_path") if isinstance(tools, dict) else None
    for candidate in (folder / str(path), Path(str(path))) if path else ():
        try:
            content = json.loads(candidate.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, list):
            return content
    return None
