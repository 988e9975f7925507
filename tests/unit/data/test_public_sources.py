"""Public sets: their published forms to examples; rows are our own, in each set's columns."""

import csv
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routewright.data.config import DataSpec
from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.data.readers import guess_kind, read_examples
from routewright.data.sources import SOURCES
from routewright.errors import DataError
from routewright.labels import Span
from routewright.tasks import BUILT_IN


def read(name: str, local_copy: Path, **options: Any) -> list[Example]:
    spec = DataSpec(source=name, local_copy=str(local_copy), **options)
    return read_examples(spec, guess_kind(spec, root=Path()), root=Path())


def pairs(examples: list[Example]) -> list[tuple[str, str]]:
    return [(e.text, e.label) for e in examples if isinstance(e, SequenceExample)]


def write_csv(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_every_source_states_what_a_user_must_know() -> None:
    for name, source in SOURCES.items():
        assert name == source.name
        assert len(source.revision) == 40
        assert source.licence
        assert source.url.startswith("https://")
        assert source.kind == BUILT_IN[source.task].kind
        assert set(source.default_configs) <= set(source.configs)


def test_mmlu_pro_is_read_from_a_clone_of_its_repository(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [
        {"question_id": 1, "question": "What is a tort?", "options": ["a"], "category": "law"}
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data/test-00000-of-00001.parquet")
    found = read("mmlu_pro", tmp_path)
    assert pairs(found) == [("What is a tort?", "law")]
    assert found[0].meta == {"source": "mmlu_pro", "question_id": 1, "options": ["a"]}
    with pytest.raises(DataError, match=r"no file of mmlu_pro here; expected data/validation-"):
        read("mmlu_pro", tmp_path, split="validation")


PRESIDIO = {
    "full_text": "Dr. Ada 🙂 lives at Elm St 3, Bonn",
    "masked": "{{prefix}} {{name}} 🙂 lives at {{address}}, {{city}}",
    "spans": [
        {"entity_type": t, "entity_value": v, "start_position": s, "end_position": s + len(v)}
        for t, v, s in (
            ("LOCATION", "Bonn", 29),
            ("ADDRESS", "Elm St 3", 19),
            ("PREFIX", "Dr.", 0),
            ("PERSON", "Ada", 4),
        )
    ],
    "template_id": 7,
    "metadata": None,
}


def test_presidio_spans_take_the_names_of_the_second_generation(tmp_path: Path) -> None:
    path = tmp_path / "synth_dataset_v2.json"
    path.write_text(json.dumps([PRESIDIO]), encoding="utf-8")
    (example,) = read("presidio_research", path)
    assert isinstance(example, TokenExample)
    assert example.spans == (
        Span(0, 3, "TITLE"),
        Span(4, 7, "PERSON"),
        Span(19, 27, "STREET_ADDRESS"),
        Span(29, 33, "GPE"),
    )
    assert {s.label for s in example.spans} <= set(BUILT_IN["pii"].labels)
    assert example.meta["template_id"] == 7


def test_presidio_spans_that_miss_their_value_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    # What counting UTF-16 units instead of code points would give.
    wrong = PRESIDIO | {"spans": [dict(PRESIDIO["spans"][0], start_position=30)]}  # type: ignore[index]
    path.write_text(json.dumps([wrong]), encoding="utf-8")
    with pytest.raises(DataError, match=r"x\.json:1: span \[30, 33\) is not its entity_value"):
        read("presidio_research", path)


def test_jailbreak_classification_keeps_its_two_types(tmp_path: Path) -> None:
    path = tmp_path / "balanced/jailbreak_dataset_train_balanced.csv"
    write_csv(path, {"prompt": "a", "type": "benign"}, {"prompt": "b", "type": "jailbreak"})
    assert pairs(read("jailbreak_classification", tmp_path)) == [
        ("a", "benign"),
        ("b", "jailbreak"),
    ]
    write_csv(path, {"prompt": "a", "type": "other"})
    with pytest.raises(
        DataError, match=r"csv:2: type must be benign or jailbreak, found 'other'"
    ):
        read("jailbreak_classification", tmp_path)


def test_toxic_text_is_no_jailbreak(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "data/0124/toxic-chat_annotation_train.csv",
        {"conv_id": "1", "user_input": "rude", "toxicity": 1, "jailbreaking": 0},
        {"conv_id": "2", "user_input": "trick", "toxicity": 1, "jailbreaking": 1},
    )
    found = read("toxic_chat", tmp_path)
    assert pairs(found) == [("rude", "benign"), ("trick", "jailbreak")]
    assert found[0].meta["toxicity"] == "1"


def test_salad_attacks_are_jailbreaks_and_plain_requests_are_not(tmp_path: Path) -> None:
    base = [{"qid": 0, "question": "plain", "source": "Own", "1-category": "O1"}]
    attacks = [{"aid": 0, "qid": 0, "augq": "wrapped", "method": "gptfuzzer"}]
    (tmp_path / "base_set.json").write_text(json.dumps(base), encoding="utf-8")
    (tmp_path / "attack_enhanced_set.json").write_text(json.dumps(attacks), encoding="utf-8")
    found = read("salad_data", tmp_path)
    assert pairs(found) == [("plain", "harmful_direct"), ("wrapped", "jailbreak")]
    assert found[0].meta["native_source"] == "Own"
    only = read("salad_data", tmp_path, label_map={"harmful_direct": None})
    assert pairs(only) == [("wrapped", "jailbreak")]
    assert pairs(read("salad_data", tmp_path, config_name="base_set")) == [
        ("plain", "harmful_direct")
    ]
    with pytest.raises(DataError, match="no configuration 'mcq_set'; known: base_set"):
        read("salad_data", tmp_path, config_name="mcq_set")


def test_glaive_rows_of_unknown_intent_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"system": "SYSTEM: none", "chat": "USER: Hi\nASSISTANT: Hello <|endoftext|>"},
        {"system": "SYSTEM: none", "chat": "USER: Fly\nASSISTANT: I can't. <|endoftext|>"},
    ]
    path = tmp_path / "glaive-function-calling-v2.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert pairs(read("glaive_function_calling_v2", path)) == [("Hi", "no_function_needed")]


def test_a_row_in_another_form_names_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "label": "b"}\n', encoding="utf-8")
    for name, column in (("mmlu_pro", "question"), ("toxic_chat", "jailbreaking")):
        with pytest.raises(DataError, match=rf"x\.jsonl:1: no column '{column}'; found: text"):
            read(name, path)
    with pytest.raises(DataError, match="neither augq nor question is a column"):
        read("salad_data", path)


def test_a_source_that_is_not_on_the_hub_says_what_to_download() -> None:
    with pytest.raises(DataError, match=r"not on the hub; download https://github\.com"):
        read_examples(DataSpec(source="presidio_research"), "token", root=Path())


def test_a_source_has_one_kind_and_a_known_name() -> None:
    with pytest.raises(DataError, match="mmlu_pro has sequence rows, not token rows"):
        read_examples(DataSpec(source="mmlu_pro"), "token", root=Path())
    with pytest.raises(DataError, match="no public source 'mmlu'; known: mmlu_pro"):
        read_examples(DataSpec(source="mmlu"), "sequence", root=Path())


def test_what_the_client_of_the_hub_says_of_its_attempts_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(client, "propagate", True)
    level = client.level

    def unreachable(*_: object, **__: object) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 8s [Retry 5/5].")
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError, match="no/such cannot be loaded"):
        read_examples(DataSpec(hub="no/such"), "sequence", root=tmp_path)
    assert not caplog.records
    assert client.level == level
