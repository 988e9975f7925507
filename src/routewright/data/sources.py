"""The named public sets: where each is published, its licence, its rule from row to example.

A rule raises `DataError` without a place; the reader adds file and line. Columns are those of
the pinned revision. Texts of the jailbreak sets are data for a defensive classifier.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from routewright.data.columns import column_of, spans_of, text_of
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.data.glaive import glaive_examples
from routewright.errors import DataError

ExampleKind = Literal["sequence", "token"]


@dataclass(frozen=True, kw_only=True)
class PublicSource:
    """One public data set in the form its authors publish it."""

    name: str
    task: str
    """The built-in task whose labels it gives."""
    kind: ExampleKind
    hub_id: str | None
    """None: not on the hub; `url` says what to download."""
    revision: str
    """Commit the columns were read from and that is fetched unless the user names another."""
    licence: str
    """As stated by its authors; some forbid commercial use."""
    url: str
    split: str
    """Read unless the user names another."""
    configs: Mapping[str, tuple[str, ...]]
    """Hub configuration to the glob patterns of its files in a local copy of the repository:
    the first pattern that finds files is taken, ``{split}`` filled in."""
    default_configs: tuple[str, ...] = ("default",)
    """Configurations read unless the user names one."""
    rule: str
    """The rule from row to example, in words."""
    to_examples: Callable[[Mapping[str, Any]], list[Example]]


def _meta(row: Mapping[str, Any], source: str, *columns: str) -> dict[str, object]:
    return {"source": source} | {c: row[c] for c in columns if row.get(c) is not None}


def _mmlu_pro(row: Mapping[str, Any]) -> list[Example]:
    meta = _meta(row, "mmlu_pro", "question_id", "src", "options")
    return [SequenceExample(text_of(row, "question"), text_of(row, "category"), meta)]


PRESIDIO_V1_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "ADDRESS": "STREET_ADDRESS",
        "LOCATION": "GPE",
        "PREFIX": "TITLE",
        "EMAIL": "EMAIL_ADDRESS",
        "DOMAIN": "DOMAIN_NAME",
        "IBAN": "IBAN_CODE",
        "NATIONALITY": "NRP",
    }
)
"""Older type names to the 17 of the second generation, which already carries those names."""


def _presidio(row: Mapping[str, Any]) -> list[Example]:
    text = text_of(row, "full_text")
    keys = ("start_position", "end_position", "entity_type")
    spans = spans_of(row, "spans", keys)
    for entry in row["spans"] if isinstance(row["spans"], list) else ():
        start, end = entry["start_position"], entry["end_position"]
        if text[start:end] != entry.get("entity_value"):
            raise DataError(
                f"span [{start}, {end}) is not its entity_value; positions count code points"
            )
    spans = tuple(replace(s, label=PRESIDIO_V1_TYPES.get(s.label, s.label)) for s in spans)
    meta = _meta(row, "presidio_research", "template_id", "masked")
    return [TokenExample(text, spans, meta)]


def _jailbreak_classification(row: Mapping[str, Any]) -> list[Example]:
    label = text_of(row, "type").strip().lower()
    if label not in ("benign", "jailbreak"):
        raise DataError(f"type must be benign or jailbreak, found {label!r}")
    meta = _meta(row, "jailbreak_classification")
    return [SequenceExample(text_of(row, "prompt"), label, meta)]


def _toxic_chat(row: Mapping[str, Any]) -> list[Example]:
    flag = str(column_of(row, "jailbreaking")).strip()
    if flag not in ("0", "1"):
        raise DataError(f"jailbreaking must be 0 or 1, found {flag!r}")
    label = "jailbreak" if flag == "1" else "benign"
    meta = _meta(row, "toxic_chat", "conv_id", "toxicity", "human_annotation")
    return [SequenceExample(text_of(row, "user_input"), label, meta)]


def _salad_data(row: Mapping[str, Any]) -> list[Example]:
    attack = "augq" in row
    if not attack and "question" not in row:
        raise DataError(
            "neither augq nor question is a column; read base_set or attack_enhanced_set"
        )
    text = text_of(row, "augq" if attack else "question")
    columns = ("qid", "aid", "method", "1-category", "2-category", "3-category")
    meta = _meta(row, "salad_data", *columns)
    if row.get("source") is not None:
        meta["native_source"] = row["source"]
    return [SequenceExample(text, "jailbreak" if attack else "harmful_direct", meta)]


def _glaive(row: Mapping[str, Any]) -> list[Example]:
    return list(glaive_examples(text_of(row, "system"), text_of(row, "chat")))


_HUB = "https://huggingface.co/datasets"

SOURCES: Mapping[str, PublicSource] = MappingProxyType(
    {
        source.name: source
        for source in (
            PublicSource(
                name="mmlu_pro",
                task="category",
                kind="sequence",
                hub_id="TIGER-Lab/MMLU-Pro",
                revision="527feea0afed1de15a8c115abf7be4c912123315",
                # Its authors state two: MIT on the hub, where the rows are, and Apache-2.0 in
                # the LICENSE of their repository, github.com/TIGER-AI-Lab/MMLU-Pro.
                licence="MIT (hub), Apache-2.0 (repository)",
                url=f"{_HUB}/TIGER-Lab/MMLU-Pro",
                split="test",
                configs={"default": ("data/{split}-*.parquet", "{split}-*.parquet")},
                rule="question without its options; label = category",
                to_examples=_mmlu_pro,
            ),
            PublicSource(
                name="presidio_research",
                task="pii",
                kind="token",
                hub_id=None,
                revision="7622dec1e5f7d25dc60b57c28c39f4c4af197018",
                licence="MIT",
                url="https://github.com/microsoft/presidio-research/blob/"
                "7622dec1e5f7d25dc60b57c28c39f4c4af197018/data/synth_dataset_v2.json",
                split="train",
                configs={"default": ("data/synth_dataset_v2.json", "synth_dataset_v2.json")},
                rule="full_text with its spans; second-generation types as they are, older "
                "ones renamed (ADDRESS to STREET_ADDRESS, LOCATION to GPE, PREFIX to TITLE)",
                to_examples=_presidio,
            ),
            PublicSource(
                name="jailbreak_classification",
                task="jailbreak",
                kind="sequence",
                hub_id="jackhhao/jailbreak-classification",
                revision="2f2ceeb39658696fd3f462403562b6eea5306287",
                licence="Apache-2.0",
                url=f"{_HUB}/jackhhao/jailbreak-classification",
                split="train",
                configs={
                    "default": (
                        "balanced/jailbreak_dataset_{split}_balanced.csv",
                        "jailbreak_dataset_{split}_balanced.csv",
                    ),
                },
                rule="prompt; label = type",
                to_examples=_jailbreak_classification,
            ),
            PublicSource(
                name="toxic_chat",
                task="jailbreak",
                kind="sequence",
                hub_id="lmsys/toxic-chat",
                revision="3e0319203c7162b9c9f8015b594441f979c199bc",
                licence="CC-BY-NC-4.0",
                url=f"{_HUB}/lmsys/toxic-chat",
                split="train",
                configs={
                    "toxicchat0124": ("data/0124/toxic-chat_annotation_{split}.csv",),
                    "toxicchat1123": ("data/1123/toxic-chat_annotation_{split}.csv",),
                },
                default_configs=("toxicchat0124",),
                rule="user_input; jailbreaking = 1 is jailbreak, all else benign: toxic text "
                "alone is no jailbreak",
                to_examples=_toxic_chat,
            ),
            PublicSource(
                name="salad_data",
                task="jailbreak",
                kind="sequence",
                hub_id="OpenSafetyLab/Salad-Data",
                revision="e0f207e6a1f65392d945d0d67cf0fedc67d6285e",
                licence="Apache-2.0",
                url=f"{_HUB}/OpenSafetyLab/Salad-Data",
                split="train",
                configs={
                    "base_set": ("base_set.json",),
                    "attack_enhanced_set": ("attack_enhanced_set.json",),
                },
                default_configs=("base_set", "attack_enhanced_set"),
                rule="attack_enhanced_set: augq is jailbreak; base_set: question is "
                "harmful_direct, a plain harmful request and no jailbreak (map or drop it)",
                to_examples=_salad_data,
            ),
            PublicSource(
                name="glaive_function_calling_v2",
                task="intent",
                kind="sequence",
                hub_id="glaiveai/glaive-function-calling-v2",
                revision="e7f4b6456019f5d8bcb991ef0dd67d8ff23221ac",
                licence="Apache-2.0",
                url=f"{_HUB}/glaiveai/glaive-function-calling-v2",
                split="train",
                configs={"default": ("glaive-function-calling-v2.json",)},
                rule="first user turn; label = intent of the function the first answer calls, "
                "no_function_needed where no answer calls one (data/glaive.py)",
                to_examples=_glaive,
            ),
        )
    }
)
