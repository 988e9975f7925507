"""What the endpoints answer: all of it real, and every option does what it says."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.api_parts import api
from tests.gateway_parts import (
    ATTACK,
    MATH,
    NEUTRAL,
    TASKS,
    UNSURE,
    classifier,
    run,
)

from routewright.gateway.api.answers import with_odds
from routewright.runtime.classifier import Classifier

PHONE = "call 12345 or 12345, then 678 👩‍👩‍👧 9"
LABELS = {"math", "law", "other"}


def answered(path: str, body: dict[str, Any], **given: Any) -> dict[str, Any]:
    async def scene() -> dict[str, Any]:
        async with api(**given) as it:
            return await it.post(path, body)

    return run(scene())


def refused(path: str, body: dict[str, Any], status: int = 400, **given: Any) -> str:
    async def scene() -> str:
        async with api(**given) as it:
            return await it.refused(path, body, status)

    return run(scene())


def without(task: str) -> Classifier:
    """The model with a head less."""
    whole = classifier()
    heads = {name: head for name, head in whole.heads.items() if name != task}
    return Classifier(whole.encoder, heads, whole.backend)


def test_an_intent_is_the_domain_with_the_model_that_the_policy_recommends() -> None:
    found = answered("classify/intent", {"text": MATH})
    assert found["classification"]["category"] == "math"
    assert found["classification"]["processing_time_ms"] >= 1
    assert found["recommended_model"] == "large"
    assert found["routing_decision"] == "high_confidence_specialized"
    assert found["decision"] == "maths"
    assert not {"probabilities", "explanation"} & set(found)


def test_probabilities_are_those_of_every_category() -> None:
    options = {"return_probabilities": True, "include_explanation": True}
    found = answered("classify/intent", {"text": MATH, "options": options})
    assert set(found["probabilities"]) == LABELS
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert found["probabilities"]["math"] == found["classification"]["confidence"]
    assert "maths" in found["explanation"]


def test_a_confidence_threshold_decides_what_routes() -> None:
    unsure = answered("classify/intent", {"text": UNSURE})
    assert unsure["routing_decision"] == "low_confidence_general"
    assert unsure["recommended_model"] == "small"
    assert unsure["threshold"] == 0.6
    options = {"confidence_threshold": 0.0}
    sure = answered("classify/intent", {"text": UNSURE, "options": options})
    assert sure["routing_decision"] == "high_confidence_specialized"
    stated = {"abstention": {"domain": 0.99999}}
    by_policy = answered("classify/intent", {"text": MATH}, policy=stated)
    assert by_policy["routing_decision"] == "low_confidence_general"
    allowed = answered("classify/intent", {"text": MATH, "options": options}, policy=stated)
    assert allowed["recommended_model"] == "large"


def test_entities_hide_their_text_and_place_unless_asked() -> None:
    found = answered("classify/pii", {"text": PHONE})
    assert found["has_pii"]
    assert found["security_recommendation"] == "block"
    assert "masked_text" not in found
    for entity in found["entities"]:
        assert set(entity) == {"type", "value", "confidence"}
        assert entity["value"] == "[DETECTED]"


def test_positions_are_code_points_and_zero_is_one_of_them() -> None:
    text = f"7 {PHONE}"
    options = {"return_positions": True, "reveal_entity_text": True, "mask_entities": True}
    found = answered("classify/pii", {"text": text, "options": options})
    first, *_, last = found["entities"]
    assert (first["start_position"], first["end_position"]) == (0, 1)
    assert last["value"] == "9"
    for entity in found["entities"]:
        start, end = entity["start_position"], entity["end_position"]
        assert text[start:end] == entity["value"]
        assert entity["masked_value"] in found["masked_text"]
    values = {e["value"]: e["masked_value"] for e in found["entities"]}
    assert values["12345"] == "[PHONE_NUMBER_2]"  # both times
    assert len(set(values.values())) == len(values)
    assert "12345" not in found["masked_text"]


def test_only_the_entities_asked_for_are_answered_and_masked() -> None:
    options = {"entity_types": ["us_ssn"], "mask_entities": True}
    found = answered("classify/pii", {"text": PHONE, "options": options})
    assert found["entities"] == []
    assert not found["has_pii"]
    assert found["masked_text"] == PHONE
    assert found["security_recommendation"] == "allow"
    high = answered("classify/pii", {"text": PHONE, "options": {"confidence_threshold": 1.0}})
    assert not high["has_pii"]


@pytest.mark.parametrize(
    ("text", "sensitivity", "flagged"),
    [(ATTACK, "low", True), (NEUTRAL, "high", False), ("x" + "a" * 12, "medium", False),
     ("x" + "a" * 12, "high", True)],
)  # fmt: skip
def test_sensitivity_moves_the_threshold(text: str, sensitivity: str, flagged: bool) -> None:
    options = {"sensitivity": sensitivity, "include_reasoning": True}
    found = answered("classify/security", {"text": text, "options": options})
    assert found["threshold"] == pytest.approx({"low": 0.8, "medium": 0.5, "high": 0.2}[
        sensitivity
    ])  # fmt: skip
    assert found["is_jailbreak"] is flagged is (found["risk_score"] >= found["threshold"])
    assert found["recommendation"] == ("block" if flagged else "allow")
    assert found["detection_types"] == (["jailbreak"] if flagged else [])
    assert found["patterns_detected"] == []
    assert f"{found['risk_score']:.6f}" in found["reasoning"]
    assert "of the policy's guard" in found["reasoning"]


@given(st.floats(0.001, 0.999), st.floats(0.01, 0.99))
def test_more_sensitivity_never_flags_less(threshold: float, factor: float) -> None:
    assert 0 < with_odds(threshold, factor) < threshold < with_odds(threshold, 1 / factor) < 1


def test_without_a_policy_the_threshold_is_the_bundles() -> None:
    options = {"include_reasoning": True}
    body = {"text": ATTACK * 8, "options": options}
    found = answered("classify/security", body, policy={"guards": {}})
    assert "by default, as the bundle has none" in found["reasoning"]
    assert "windows" in found["reasoning"]


def test_combined_is_what_the_three_endpoints_answer() -> None:
    body = {
        "text": PHONE,
        "intent_options": {"return_probabilities": True},
        "pii_options": {"return_positions": True},
        "security_options": {"sensitivity": "high"},
    }
    found = answered("classify/combined", body)
    for path, options in (("intent", "intent_options"), ("pii", "pii_options"),
                          ("security", "security_options")):  # fmt: skip
        alone = answered(f"classify/{path}", {"text": PHONE, "options": body[options]})
        assert _untimed(found[path]) == _untimed(alone)


def test_a_batch_answers_every_task_for_every_text_in_order() -> None:
    texts = [MATH, ATTACK, PHONE, UNSURE] * 20
    found = answered("classify/batch", {"texts": texts, "task_type": "all"})
    assert found["total_count"] == len(found["results"]) == len(texts)
    for text, result in zip(texts, found["results"], strict=True):
        assert set(result) == {"intent", "pii", "security", "processing_time_ms"}
        assert result["security"]["is_jailbreak"] is (text == ATTACK)
        assert result["pii"]["has_pii"] is (text == PHONE)
    labels = [r["intent"]["classification"]["category"] for r in found["results"]]
    statistics = found["statistics"]
    assert statistics["category_distribution"] == {n: labels.count(n) for n in set(labels)}
    sure = [r["intent"]["classification"]["confidence"] for r in found["results"]]
    assert statistics["avg_confidence"] == pytest.approx(sum(sure) / len(sure), abs=1e-5)
    assert statistics["low_confidence_count"] == 20
    assert found["processing_time_ms"] >= 1


def test_a_batch_of_one_task_has_its_flat_results_and_statistics() -> None:
    intents = answered("classify/batch", {"texts": [MATH, UNSURE]})
    assert intents["results"][0]["category"] == "math"
    assert intents["statistics"]["low_confidence_count"] == 1
    pii = answered(
        "classify/batch",
        {"texts": [NEUTRAL, PHONE], "task_type": "pii", "options": {"return_positions": True}},
    )
    assert [r["has_pii"] for r in pii["results"]] == [False, True]
    assert pii["statistics"]["category_distribution"] == {"PHONE_NUMBER": 4}
    nothing = answered("classify/batch", {"texts": [NEUTRAL], "task_type": "pii"})
    assert "avg_confidence" not in nothing["statistics"]
    security = answered(
        "classify/batch", {"texts": [ATTACK, NEUTRAL, "x" + "a" * 12], "task_type": "security"}
    )
    assert security["statistics"]["category_distribution"] == {"jailbreak": 1, "benign": 2}
    assert security["statistics"]["low_confidence_count"] == 1


def test_classify_answers_every_task_of_the_bundle_or_those_named() -> None:
    found = answered("classify", {"text": MATH})
    assert {task.name for task in TASKS} <= set(found)
    assert set(found["intent"]["probabilities"]) == set(TASKS[1].labels)
    named = answered("classify", {"texts": [MATH, PHONE], "tasks": ["pii"]})
    assert named["total_count"] == 2
    assert [bool(result["pii"]) for result in named["results"]] == [False, True]
    assert "category" not in named["results"][0]


def test_route_answers_the_decision_with_its_reasons() -> None:
    found = answered("route", {"text": MATH})
    assert (found["name"], found["model"], found["kind"]) == ("maths", "large", "rule")
    assert found["reasons"]["considered"][0]["name"] == "maths"
    assert answered("route", {"text": ATTACK, "model": "large"})["blocked"]
    rules = {"rules": {"header": {"name": "x-tier", "equals": "gold"}}, "models": ["large"]}
    policy = {"decisions": [{"name": "gold", **rules}]}
    body = {"text": NEUTRAL, "headers": {"X-Tier": "gold"}}
    assert answered("route", body, policy=policy)["name"] == "gold"
    assert refused("route", {"text": MATH, "model": "nope"}, 404).startswith("MODEL_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "task"),
    [("intent", "category"), ("pii", "pii"), ("security", "jailbreak"), ("combined", "pii")],
)
def test_a_task_that_the_bundle_lacks_is_named_and_never_made_up(path: str, task: str) -> None:
    told = refused(f"classify/{path}", {"text": MATH}, 503, policy=_bare(), model=without(task))
    assert told.startswith("MODEL_NOT_LOADED")
    assert f"no task {task}" in told
    batch = {"texts": [MATH], "task_type": "all"}
    told = refused("classify/batch", batch, 503, policy=_bare(), model=without(task))
    assert f"no task {task}" in told


def test_a_large_batch_waits_for_a_small_queue_and_not_for_ever() -> None:
    settings = {"batching": {"max_queue_tokens": 64}, "max_texts": 200}
    texts = [f"{MATH} {'a' * n}" for n in range(200)]
    found = answered("classify/batch", {"texts": texts}, settings=settings)
    assert found["total_count"] == 200
    told = refused("classify/batch", {"texts": [*texts, MATH]}, settings=settings)
    assert "201 texts, more than the gateway's 200" in told
    late = {"deadline_s": 0.001}
    told = refused("classify/batch", {"texts": texts}, 504, settings=late)
    assert told.startswith("TIMEOUT_ERROR")


def test_concurrent_requests_get_their_own_answers() -> None:
    async def scene() -> None:
        async with api() as it:
            texts = [f"{'q' * (n % 5)} {n}" for n in range(100)]
            found = await asyncio.gather(*(it.post("classify", {"text": t}) for t in texts))
            for text, answer in zip(texts, found, strict=True):
                [alone] = classifier()([text])
                expected = alone.to_dict()
                assert answer["pii"] == expected["pii"]
                assert answer["category"]["label"] == expected["category"]["label"]

    run(scene())


def _bare() -> dict[str, Any]:
    return {"decisions": [], "guards": {}, "tools": {}}


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _untimed(v) for k, v in value.items() if k != "processing_time_ms"}
    return value
