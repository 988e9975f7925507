"""A run in the formats of other programs, loaded as those programs load it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file
from tests.checkpoints import ARCHITECTURES
from tests.untrained import make_run

from routewright.errors import ConfigError, ExportError
from routewright.export import export_run
from routewright.export.task_models import NATIVE, quiet_transformers
from routewright.runtime.classifier import Classifier
from routewright.train.backbones import load_backbone
from routewright.train.run import Run, load_model
from routewright.train.scoring import torch_classifier

pytestmark = pytest.mark.integration

TEXTS = ["call Alice at 12 please", "the red one is number 5, isn't it? 漢字 👩‍🔬", "yes"]
LORA = {"rank": 4, "alpha": 8, "target": "all"}


@pytest.fixture(scope="module", params=ARCHITECTURES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp(request.param), request.param, lora=LORA)


@pytest.fixture(scope="module", params=("bert", "mpnet"))
def mean_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("mean"), request.param, model={"pooling": "mean"})


def classifier_of(run: Run) -> Classifier:
    model, _, encoder = load_model(run)
    return torch_classifier(model, encoder)


def topic_probabilities(run: Run) -> list[dict[str, float]]:
    return [dict(a.sequence["topic"].probabilities) for a in classifier_of(run)(TEXTS)]


def pipeline_probabilities(folder: Path, *, trust: bool = False) -> list[dict[str, float]]:
    with quiet_transformers():
        classify: Any = transformers.pipeline(
            "text-classification", str(folder), trust_remote_code=trust
        )
    rows = classify(TEXTS, top_k=None, batch_size=3)
    return [{item["label"]: item["score"] for item in row} for row in rows]


def test_transformers_folders_are_native_and_pipeline_gives_the_same_numbers(
    run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_run(run.folder, out, "transformers")
    for expected, actual in zip(
        topic_probabilities(run), pipeline_probabilities(out / "topic"), strict=True
    ):
        assert actual == pytest.approx(expected, abs=1e-4)
    architecture = json.loads((out / "topic" / "config.json").read_text())["model_type"]
    for name, kind in (("topic", "sequence"), ("names", "token")):
        config = json.loads((out / name / "config.json").read_text())
        assert config["architectures"] == [NATIVE[architecture, kind].name]  # type: ignore[index]
        assert not (out / name / "modeling_routewright.py").exists()


def test_pipeline_finds_the_tags_of_the_token_head(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(run.folder, out, "transformers")
    with quiet_transformers():
        tag: Any = transformers.pipeline("token-classification", str(out / "names"))
    (raw,) = classifier_of(run).raw(TEXTS[:1])
    best = raw.token_logits["names"].argmax(axis=1)
    names = ("O", "B-NAME", "I-NAME")
    expected = [
        (start, end, names[best[i]])
        for i, (start, end) in enumerate(raw.encoded.offsets)
        if best[i] != 0
    ]
    found = [(item["start"], item["end"], item["entity"]) for item in tag(TEXTS[0])]
    # Byte-level tokenizers count the space before a word into its token there.
    trimmed = [
        (start + len(TEXTS[0][start:end]) - len(TEXTS[0][start:end].lstrip()), end, label)
        for start, end, label in found
    ]
    assert trimmed == expected


def test_pooling_without_a_native_class_brings_its_code_and_never_loads_without_it(
    mean_run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    lines: list[str] = []
    export_run(mean_run.folder, out, "transformers", progress=lines.append)
    actual = pipeline_probabilities(out / "topic", trust=True)
    for row, expected in zip(actual, topic_probabilities(mean_run), strict=True):
        assert row == pytest.approx(expected, abs=1e-4)
    assert "trust_remote_code=True" in lines[-1]
    assert "trust_remote_code=True" in (out / "topic" / "README.md").read_text()
    with pytest.raises(ValueError, match="trust_remote_code"), quiet_transformers():
        transformers.AutoModelForSequenceClassification.from_pretrained(
            out / "topic", trust_remote_code=False
        )


def test_torchscript_gives_the_same_numbers_on_shapes_it_was_not_traced_with(
    run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_run(run.folder, out, "torchscript")
    labels = json.loads((out / "labels.json").read_text())
    assert labels["tasks"]["names"]["labels"] == ["O", "B-NAME", "I-NAME"]
    with pytest.warns(DeprecationWarning, match="torch.export"):
        module = torch.jit.load(str(out / "model.pt"))  # type: ignore[no-untyped-call]
    classifier = classifier_of(run)
    for shape in ((1, 1), (1, 48), (5, 17), (2, 31)):
        ids_BT, mask_BT = random_inputs(shape)
        expected = classifier.backend.run(ids_BT, mask_BT)
        with torch.no_grad():
            values = module(torch.from_numpy(ids_BT), torch.from_numpy(mask_BT))
        for name, value in zip(labels["outputs"], values, strict=True):
            kept = mask_BT == 1 if value.ndim == 3 else ...
            np.testing.assert_allclose(expected[name][kept], value.numpy()[kept], atol=1e-4)


def random_inputs(shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids, and a mask whose rows get shorter."""
    ids_BT = np.random.default_rng(0).integers(5, 100, size=shape)
    lengths_B1 = np.maximum(1, shape[1] - 4 * np.arange(shape[0]))[:, None]
    return ids_BT, (np.arange(shape[1]) < lengths_B1).astype(np.int64)


def test_a_peft_adapter_on_the_backbone_gives_the_trained_token_vectors(
    run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_run(run.folder, out, "peft")
    model, saved, _ = load_model(run)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        adapted = peft.PeftModel.from_pretrained(
            load_backbone(saved.model.backbone), str(out)
        ).eval()
    ids_BT, mask_BT = (torch.from_numpy(a) for a in random_inputs((3, 20)))
    with torch.no_grad():
        expected = model.backbone(input_ids=ids_BT, attention_mask=mask_BT)[0]
        actual = adapted(input_ids=ids_BT, attention_mask=mask_BT)[0]
    torch.testing.assert_close(actual, expected)
    assert "topic.classifier.weight" in load_file(out / "heads.safetensors")


def test_the_router_folder_has_its_mapping_files(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(run.folder, out, "vllm-sr")
    mapping = json.loads((out / "names" / "pii_type_mapping.json").read_text())
    assert mapping == {
        "label_to_idx": {"O": 0, "B-NAME": 1, "I-NAME": 2},
        "idx_to_label": {"0": "O", "1": "B-NAME", "2": "I-NAME"},
    }
    category = json.loads((out / "topic" / "category_mapping.json").read_text())
    assert category["category_to_idx"] == {"animal": 0, "colour": 1}
    assert category["idx_to_category"] == {"0": "animal", "1": "colour"}
    lora = json.loads((out / "topic" / "lora_config.json").read_text())
    assert (lora["rank"], lora["alpha"]) == (4, 8)
    config = json.loads((out / "names" / "config.json").read_text())
    assert config["id2label"] == mapping["idx_to_label"]


def test_the_router_format_refuses_heads_it_has_no_class_for(
    mean_run: Run, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=r"train with model\.pooling: cls"):
        export_run(mean_run.folder, tmp_path / "out", "vllm-sr")
    assert not list(tmp_path.iterdir())


def test_peft_refuses_a_run_without_adapters(mean_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is no adapter to write"):
        export_run(mean_run.folder, tmp_path / "out", "peft")


def test_an_earlier_export_is_replaced_and_other_folders_are_not(
    mean_run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_run(mean_run.folder, out, "torchscript")
    export_run(mean_run.folder, out, "transformers")
    assert not (out / "model.pt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(ExportError, match="other things in it"):
        export_run(mean_run.folder, tmp_path / "mine", "torchscript")


def test_options_of_the_bundle_are_refused_elsewhere(mean_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="belong to --format onnx"):
        export_run(mean_run.folder, tmp_path / "out", "torchscript", int8_only=True)
    with pytest.raises(ConfigError, match="--format zip: unknown"):
        export_run(mean_run.folder, tmp_path / "out", "zip")
