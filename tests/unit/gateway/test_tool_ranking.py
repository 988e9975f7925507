"""Which tools are offered, in what order, and what stays at home."""

import numpy as np

from routewright.decoding import FloatArray
from routewright.gateway.tool_ranking import ToolIndex, as_function
from routewright.policy.decision import ToolOffer
from routewright.policy.settings import Tool

TOOLS = (
    Tool(name="calculator", description="arithmetic", keywords=("compute", "percent")),
    Tool(name="unit_converter", description="units"),
    Tool(name="plotter", description="charts", parameters={"type": "object"}),
)
VECTORS = np.eye(3)
INDEX = ToolIndex.build(TOOLS, lambda texts: list(VECTORS[: len(texts)]))


def chosen(text: str, vector: FloatArray | None, **offer: object) -> list[str]:
    names = tuple(tool.name for tool in TOOLS)
    settings = {"names": names, "top_k": 2, "min_similarity": 0.2, "reason": "", **offer}
    made = ToolOffer(**settings)  # type: ignore[arg-type]
    return [tool.name for tool in INDEX.choose(made, text, vector)]


def test_the_most_similar_come_first_and_the_dissimilar_stay() -> None:
    assert chosen("", np.array([0.3, 0.9, 0.1])) == ["unit_converter", "calculator"]
    assert chosen("", np.array([0.1, 0.1, 0.1])) == []


def test_when_no_tool_is_similar_the_fallback_says_what_goes_out() -> None:
    unlike = np.array([0.1, 0.1, 0.1])
    assert chosen("", unlike, fallback="none") == []
    assert len(chosen("", unlike, fallback="all")) == 3
    assert chosen("", unlike, fallback="all", names=("plotter",)) == ["plotter"]
    assert chosen("", np.array([0.1, 0.9, 0.1]), fallback="all") == ["unit_converter"]


def test_shared_words_lift_a_tool() -> None:
    vector = np.array([0.1, 0.15, 0.0])
    assert chosen("please compute ten percent", vector) == ["calculator"]
    assert chosen("convert this UNIT", vector) == ["unit_converter"]
    assert chosen("compute a percent", None) == ["calculator"]


def test_only_allowed_tools_are_candidates_and_unranked_offers_are_taken_whole() -> None:
    assert chosen("", np.array([1.0, 1.0, 1.0]), names=("plotter",)) == ["plotter"]
    assert len(chosen("", np.zeros(3), rank=False)) == 3


def test_an_empty_catalogue_offers_nothing() -> None:
    index = ToolIndex.build((), lambda _: [])
    offer = ToolOffer(names=(), top_k=3, min_similarity=0.0, reason="")
    assert index.choose(offer, "text", None) == []


def test_a_tool_takes_the_form_of_chat_completions() -> None:
    assert as_function(TOOLS[2]) == {
        "type": "function",
        "function": {
            "name": "plotter",
            "description": "charts",
            "parameters": {"type": "object"},
        },
    }
    assert "parameters" not in as_function(TOOLS[0])["function"]
