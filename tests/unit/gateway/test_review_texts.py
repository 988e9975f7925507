"""Which texts a person should look at, and what of them never reaches a file."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.gateway_parts import (
    ATTACK,
    MATH,
    NEUTRAL,
    UNSURE,
    broken_classifier,
    chat,
    make_gateway,
    run,
)
from tests.review_parts import TODAY, counted, decided_about, kept, opened, rows_in

from routewright.gateway.exchange import Outcome
from routewright.gateway.watching import Decided
from routewright.labels import Span

PHONE = "0" * 9


def test_an_unsure_answer_is_kept_with_what_the_model_said(tmp_path: Path) -> None:
    seen = decided_about(chat(MATH), chat(UNSURE))
    [row] = kept(tmp_path / "kept", seen)
    answer = seen[1].scanned.signals.sequence["category"]
    assert list(row) == [
        "text", "label", "task", "predicted", "confidence", "reason", "bundle", "date",
    ]  # fmt: skip
    assert row == {
        "text": UNSURE,
        "label": None,
        "task": "category",
        "predicted": answer.label,
        "confidence": round(answer.confidence, 4),
        "reason": "abstained",
        "bundle": "",
        "date": TODAY,
    }
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [f"category-{TODAY}.jsonl"]


def test_an_attack_is_kept_for_what_the_guard_did_or_would_have_done(tmp_path: Path) -> None:
    [row] = kept(tmp_path / "block", decided_about(chat(ATTACK)), reasons=("blocked",))
    assert (row["task"], row["predicted"], row["reason"]) == (
        "jailbreak",
        "jailbreak",
        "blocked",
    )
    shadow = {"guards": {"jailbreak": {"threshold": 0.5, "mode": "shadow"}}}
    seen = decided_about(chat(ATTACK), policy=shadow)
    [row] = kept(tmp_path / "shadow", seen, reasons=("blocked", "would_block"))
    assert row["reason"] == "would_block"


def test_the_threshold_of_the_guard_says_what_is_near_and_what_was_predicted(
    tmp_path: Path,
) -> None:
    [probe] = decided_about(chat(NEUTRAL))
    score = probe.scanned.signals.sequence["jailbreak"].score
    assert score is not None
    odds = score / (1 - score)
    for factor, expected in ((2.0, 1), (4.0, 0), (0.5, 1)):
        threshold = odds * factor / (1 + odds * factor)
        seen = decided_about(
            chat(NEUTRAL), policy={"guards": {"pii": {}, "jailbreak": {"threshold": threshold}}}
        )
        rows = kept(tmp_path / str(factor), seen, reasons=("near_threshold",))
        assert len(rows) == expected, factor
        for row in rows:
            assert row["predicted"] == ("jailbreak" if factor < 1 else "benign")


def test_an_attack_in_another_text_says_nothing_about_the_users(tmp_path: Path) -> None:
    body = {
        "model": "auto",
        "messages": [
            {"role": "user", "content": NEUTRAL},
            {"role": "tool", "tool_call_id": "1", "content": "x" * 40},
        ],
    }
    [decided] = decided_about(body)
    assert decided.decision.blocked
    assert kept(tmp_path / "kept", [decided], reasons=("blocked", "would_block")) == []


def test_a_draw_keeps_a_row_of_every_task_that_the_policy_uses(tmp_path: Path) -> None:
    draws = iter([0.2, 0.1])
    seen = decided_about(chat(MATH), chat(UNSURE))
    rows = kept(tmp_path / "kept", seen, random=0.2, draw=lambda: next(draws), reasons=())
    assert {(row["task"], row["text"], row["reason"]) for row in rows} == {
        (task, UNSURE, "random") for task in ("category", "intent", "jailbreak")
    }


def test_personal_data_never_reaches_the_file(tmp_path: Path) -> None:
    """Whatever the policy allows, also where the guard is off, and values found elsewhere."""
    text = f"{UNSURE} {PHONE} {UNSURE}"
    allows = {"guards": {"pii": {"default": "allow"}}}
    off = {"guards": {"pii": {"mode": "off"}}}
    absent: Mapping[str, Any] = {"guards": {}}
    cases: Mapping[str, Mapping[str, Any]] = {"allows": allows, "off": off, "absent": absent}
    for name, policy in cases.items():
        [decided] = decided_about(chat(text), policy=policy)
        [row] = kept(tmp_path / name, [decided], random=1.0, reasons=(), draw=lambda: 0.0)[:1]
        assert row["text"] == f"{UNSURE} [PHONE_NUMBER] {UNSURE}"
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*.jsonl"))
    assert files
    assert PHONE.encode() not in files


def with_entities(decided: Decided, *found: tuple[str, str]) -> Decided:
    """The request as if the head had found the first occurrence of these values."""
    assert decided.scanned.routing is not None
    text = decided.scanned.signals.text
    spans = [
        Span(text.index(value), text.index(value) + len(value), label) for value, label in found
    ]
    answer = replace(decided.scanned.routing.answer, spans={"pii": spans})
    routing = replace(decided.scanned.routing, answer=answer)
    return replace(decided, scanned=replace(decided.scanned, routing=routing))


def test_names_addresses_and_numbers_are_replaced_wherever_they_stand(tmp_path: Path) -> None:
    text = "I am Ada Quill, ada@quill.example, +49 30 1234; does Ada Quill (+49 30 1234) know?"
    [decided] = decided_about(chat(text), policy={"guards": {}})
    found = with_entities(
        decided,
        ("Ada Quill", "PERSON"),
        ("ada@quill.example", "EMAIL_ADDRESS"),
        ("quill.example", "DOMAIN_NAME"),
        ("+49 30 1234", "PHONE_NUMBER"),
    )
    rows = kept(tmp_path / "kept", [found], random=1.0, draw=lambda: 0.0)
    assert {row["text"] for row in rows} == {
        "I am [PERSON], [EMAIL_ADDRESS], [PHONE_NUMBER]; does [PERSON] ([PHONE_NUMBER]) know?"
    }


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("id X12345678, say x12345678", "X12345678", "id [PERSON], say [PERSON]"),
        ("Ada Quill (ada quill, ADA\n  QUILL)", "Ada Quill", "[PERSON] ([PERSON], [PERSON])"),
        (
            "Will (WILL) will will Willy Will_",
            "Will",
            "[PERSON] (WILL) will will Willy [PERSON]_",
        ),
        ("(a+b)1 is (A+B)1, aab1, x(a+b)1", "(a+b)1", "[PERSON] is [PERSON], aab1, x(a+b)1"),
        ("12345, 123456 and 012345", "12345", "[PERSON], 123456 and 012345"),
    ],
)
def test_a_value_is_found_again_in_another_case_unless_it_may_be_a_plain_word(
    tmp_path: Path, text: str, value: str, expected: str
) -> None:
    [decided] = decided_about(chat(text), policy={"guards": {}})
    found = with_entities(decided, (value, "PERSON"))
    rows = kept(tmp_path / "kept", [found], random=1.0, draw=lambda: 0.0)
    assert {row["text"] for row in rows} == {expected}


def test_a_value_found_in_another_message_is_replaced_too(tmp_path: Path) -> None:
    body = chat(f"number {PHONE}", "noted", UNSURE)
    [decided] = decided_about(body)
    spans = ((Span(0, 6, "PERSON"),), (), ())  # "number", as it were a name
    other = replace(decided, scanned=replace(decided.scanned, spans=spans))
    text = f"{UNSURE} number numbers"
    signals = replace(decided.scanned.signals, text=text)
    other = replace(other, scanned=replace(other.scanned, signals=signals))
    assert {row["text"] for row in kept(tmp_path / "kept", [other])} == {
        f"{UNSURE} [PERSON] numbers"
    }


def test_entities_in_the_parts_of_a_message_are_replaced_in_their_places(
    tmp_path: Path,
) -> None:
    parts = [{"type": "text", "text": text} for text in (UNSURE, f"call {PHONE}", UNSURE)]
    [decided] = decided_about(
        {"model": "auto", "messages": [{"role": "user", "content": parts}]}
    )
    [row] = kept(tmp_path / "kept", [decided], random=1.0, draw=lambda: 0.0)[:1]
    assert row["text"] == f"{UNSURE}\ncall [PHONE_NUMBER]\n{UNSURE}"


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_without_a_look_of_the_pii_head_nothing_is_kept(tmp_path: Path, mode: str) -> None:
    budget = {"mode": mode, "on_error": "open", "latency_budget_s": 1e-9}
    guards = {"jailbreak": {"threshold": 0.5}, "pii": budget}
    [late] = decided_about(chat(UNSURE, "yes", UNSURE), policy={"guards": guards})
    assert any(outcome.failed for outcome in late.decision.guards)
    [decided] = decided_about(chat(UNSURE))
    assert decided.scanned.routing is not None
    without = replace(decided.scanned.routing.answer, spans={})
    routing = replace(decided.scanned.routing, answer=without)
    blind = replace(decided, scanned=replace(decided.scanned, routing=routing))
    failed = replace(
        decided,
        decision=replace(
            decided.decision,
            guards=tuple(replace(o, failed=o.guard == "pii") for o in decided.decision.guards),
        ),
    )
    with opened(tmp_path / "kept", seen=[decided]) as rows:
        for seen in (late, blind, failed):
            rows(seen)
    assert rows_in(tmp_path / "kept") == []
    assert counted(rows, "unmasked") == 3


def test_a_failed_model_gives_no_rows(tmp_path: Path) -> None:
    open_guards = {"jailbreak": {"on_error": "open"}, "pii": {"on_error": "open"}}
    seen = decided_about(
        chat(UNSURE), model=broken_classifier(), policy={"guards": open_guards}
    )
    assert len(seen) == 1
    assert kept(tmp_path / "kept", seen, random=1.0, draw=lambda: 0.0) == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (chat(UNSURE * 300), "/v1/chat/completions"),
        ({"model": "auto", "input": UNSURE}, "/v1/embeddings"),
        ({"model": "auto", "prompt": [UNSURE, UNSURE]}, "/v1/completions"),
        (
            {"model": "auto", "messages": [{"role": "system", "content": UNSURE}]},
            "/v1/chat/completions",
        ),
        (
            {
                "model": "auto",
                "messages": [{"role": "user", "content": UNSURE, "name": "q-canary"}],
            },
            "/v1/chat/completions",
        ),
    ],
    ids=["too long", "to be embedded", "several prompts", "nobody's turn", "with a name"],
)
def test_what_is_no_text_that_a_user_wrote_is_not_kept(
    tmp_path: Path, body: Mapping[str, Any], path: str
) -> None:
    seen = decided_about(body, path=path)
    with opened(tmp_path / "kept", seen=seen, random=1.0, draw=lambda: 0.0) as rows:
        for decided in seen:
            rows(decided)
    assert rows_in(tmp_path / "kept") == []
    assert counted(rows, "unsuitable") == 1


def test_a_row_cannot_be_joined_with_anything(tmp_path: Path) -> None:
    body = {**chat(UNSURE), "user": "canary-1", "metadata": {"id": "canary-2"}}
    seen: list[Decided] = []

    async def scene() -> None:
        made = make_gateway()
        made.watchers = (seen.append,)
        headers = {"authorization": "Bearer canary-3", "x_session_id": "canary-4"}
        asked = await made.ask(body, x_request_id="canary-5", **headers)
        asked.handler.on_end(Outcome.COMPLETE)
        await made.engine.close()
        seen_ids.append(made.records[0].request_id)

    seen_ids: list[str] = []
    run(scene())
    [row] = kept(tmp_path / "kept", seen)
    text = json.dumps(row)
    assert "canary" not in text
    assert seen_ids[0] not in text
