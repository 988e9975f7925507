"""Which tools of the catalogue are offered: those the decision allows, the best ones first.

The intent has chosen the class already (`policy.decision`); within it tools are ranked by the
cosine between the text's vector and that of the tool's description, plus what words they share.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from routewright.decoding import FloatArray
from routewright.policy.decision import ToolOffer
from routewright.policy.settings import Tool

_WORD = re.compile(r"[^\W\d_]{3,}")
_LEXICAL_WEIGHT = 0.5
"""Of the share of a tool's keywords and name found in the text, against a cosine of 1."""


@dataclass(frozen=True)
class _Entry:
    tool: Tool
    vector: FloatArray
    words: frozenset[str]


@dataclass(frozen=True)
class ToolIndex:
    """A catalogue with its vectors, made once for a policy and a model."""

    entries: Mapping[str, _Entry] = field(default_factory=dict)
    """By name of the tool."""

    @classmethod
    def build(
        cls, catalogue: Sequence[Tool], embed: Callable[[list[str]], Sequence[FloatArray]]
    ) -> "ToolIndex":
        """Embed the descriptions; `embed` gives vectors of length 1."""
        texts = [f"{tool.name.replace('_', ' ')}: {tool.description}" for tool in catalogue]
        vectors = embed(texts) if texts else []
        return cls(
            {
                tool.name: _Entry(tool, vector, _words_of(tool))
                for tool, vector in zip(catalogue, vectors, strict=True)
            }
        )

    def choose(self, offer: ToolOffer, text: str, vector: FloatArray | None) -> list[Tool]:
        """The tools to offer with a request, best first; if none is similar, the fallback.

        Args:
            offer: what the policy allows; with `rank` false its names are taken as they are.
            text: the one that the request is routed by.
            vector: its embedding, ``(H,)`` of length 1; None ranks by words alone.
        """
        entries = [self.entries[name] for name in offer.names]
        if not offer.rank:
            return [entry.tool for entry in entries]
        words = frozenset(_WORD.findall(text.lower()))
        scored = [(self._score(entry, words, vector), entry.tool) for entry in entries]
        fitting = [(s, tool) for s, tool in scored if s >= offer.min_similarity]
        if not fitting and offer.fallback == "all":
            return [entry.tool for entry in entries]
        fitting.sort(key=lambda pair: -pair[0])
        return [tool for _, tool in fitting[: offer.top_k]]

    def _score(self, entry: _Entry, words: frozenset[str], vector: FloatArray | None) -> float:
        cosine = 0.0 if vector is None else float(vector @ entry.vector)
        shared = len(entry.words & words) / len(entry.words) if entry.words else 0.0
        return cosine + _LEXICAL_WEIGHT * shared


def as_function(tool: Tool) -> dict[str, Any]:
    """A tool in the form of chat completions."""
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters:
        function["parameters"] = dict(tool.parameters)
    return {"type": "function", "function": function}


def _words_of(tool: Tool) -> frozenset[str]:
    """Keywords if there are any, else the words of the name."""
    source = " ".join(tool.keywords) or tool.name.replace("_", " ")
    return frozenset(_WORD.findall(source.lower()))
