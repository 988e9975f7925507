"""``routewright route``: what the policy decides about a text, and why."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from routewright.cli.bundle_names import bundle_named
from routewright.errors import ConfigError, DataError

if TYPE_CHECKING:
    from routewright.policy.decision import Decision
    from routewright.policy.signals import Signals
    from routewright.runtime.classifier import Classifier


def route(
    text: Annotated[str, typer.Argument(help="The prompt, or - for all of standard input.")],
    config: Annotated[Path, typer.Option(help="The policy file.")],
    bundle: Annotated[
        Path | None,
        typer.Option(
            parser=bundle_named,
            metavar="BUNDLE",
            help="Bundle folder instead of the file's own; without any, that of the package.",
        ),
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A header of the client.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model that the client names; by default auto.")
    ] = None,
    key: Annotated[
        str, typer.Option(help="What weighted candidates are drawn by, as a session name.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Decide about one prompt and print signals, thresholds, and what it would have taken."""
    from routewright.gateway.policy_file import open_bundle, read_policy_file
    from routewright.policy.decision import decide, with_thresholds
    from routewright.policy.serialization import decision_to_plain
    from routewright.policy.signals import Signals

    file = read_policy_file(config, bundle)
    policy = file.policy
    headers = _headers(header or [])
    classifier, _ = open_bundle(file)
    prompt = _standard_input() if text == "-" else text
    facts = Signals(text=prompt, headers=headers, requested_model=model, key=key)
    signals = with_thresholds(classified(classifier, facts), policy)
    decision = decide(signals, policy)
    if as_json:
        sys.stdout.write(json.dumps(decision_to_plain(decision, signals)) + "\n")
    else:
        _show(decision, signals, None if file.bundle else file.bundle_origin)


def classified(classifier: "Classifier", facts: "Signals") -> "Signals":
    """The facts about a request, with the classifier's answers about its text."""
    from dataclasses import replace

    from routewright.gateway.answer_signals import sequence_signals

    [raw] = classifier.raw([facts.text])
    [answer] = classifier.interpret([raw], [facts.text])
    sequence = sequence_signals(classifier, answer)
    spans = {name: tuple(found) for name, found in answer.spans.items()}
    num_tokens = len(raw.encoded.offsets)
    return replace(facts, sequence=sequence, spans=spans, num_tokens=num_tokens)


def _standard_input() -> str:
    raw = sys.stdin.buffer.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise DataError("is not UTF-8 text", path="standard input", line=line) from exc


def _headers(given: list[str]) -> Mapping[str, str]:
    headers = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--header {name}: expected NAME=VALUE, as in x-tier=gold")
        headers[name.strip().lower()] = value
    return headers


def _show(decision: "Decision", signals: "Signals", bundle: str | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if bundle is not None:
        console.print(Text(f"bundle: {bundle}", style="dim"))
    console.print(Text("signals", style="bold"))
    for name, signal in signals.sequence.items():
        bound = "" if signal.threshold is None else f", threshold {signal.threshold:.2f}"
        note = ", abstained" if signal.abstained else ""
        console.print(Text(f"  {name}: {signal.label} {signal.confidence:.2f}{bound}{note}"))
    for name, spans in signals.spans.items():
        found = ", ".join(f"{s.label} [{s.start}, {s.end}) {s.score:.2f}" for s in spans)
        console.print(Text(f"  {name}: {found or 'none'}"))
    console.print(Text("guards", style="bold"))
    for outcome in decision.guards:
        shadow = f" (shadow: would {outcome.would})" if outcome.mode == "shadow" else ""
        style = {"block": "bold red", "mask": "yellow"}.get(outcome.action, "")
        line = f"  {outcome.guard}: {outcome.action}{shadow}: {outcome.reason}"
        console.print(Text(line, style=style))
    if not decision.guards:
        console.print(Text("  none configured"))
    console.print(Text("decision", style="bold"))
    target = "blocked" if decision.blocked else f"-> {decision.model}"
    console.print(Text(f"  {target}", style="bold red" if decision.blocked else "green"))
    for line in _details(decision):
        console.print(Text(f"  {line}"))
    others = [c for c in decision.reasons.considered if c.name != decision.name]
    if others:
        console.print(Text("to go elsewhere", style="bold"))
    for other in others:
        why = "and comes later" if decision.kind == "rule" else "and is not asked"
        need = f"also holds ({other.fact}), {why}" if other.holds else other.needed
        console.print(Text(f"  {other.name} (priority {other.priority}): {need}", style="dim"))


def _details(decision: "Decision") -> list[str]:
    lines = [decision.reasons.chosen]
    if decision.reasons.abstained:
        lines.append(f"abstained, so not routed by: {', '.join(decision.reasons.abstained)}")
    if len(decision.candidates) > 1:
        lines.append(f"standing by: {', '.join(decision.candidates[1:])}")
    if decision.reasoning is not None:
        state = f"on, effort {decision.effort}" if decision.reasoning else "off"
        lines.append(f"reasoning: {state}")
    if decision.system_prompt is not None:
        lines.append(f"system prompt: {decision.system_prompt.mode}")
    if decision.tools is not None:
        names = ", ".join(decision.tools.names) or "none"
        lines.append(f"tools if tool_choice is auto: {names} ({decision.tools.reason})")
    return lines
