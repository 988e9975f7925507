"""What is read from a folder of pretrained weights, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.checkpoints import make_checkpoint
from transformers import BertConfig, BertForMaskedLM

from routewright.errors import BackboneError
from routewright.train.backbones import build_backbone, load_backbone, load_tokenizer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "bert", "bert")


def change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_weights_saved_with_another_head_are_read_whole(checkpoint: Path) -> None:
    source = BertForMaskedLM(BertConfig.from_pretrained(checkpoint))
    weights = {n: v.clone() for n, v in source.state_dict().items() if "decoder" not in n}
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    expected = source.bert.state_dict()
    found = load_backbone(str(checkpoint)).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_weights_in_half_precision_train_in_single_precision(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    halves = {name: value.bfloat16() for name, value in weights.items()}
    save_file(halves, checkpoint / "model.safetensors", metadata={"format": "pt"})
    change_config(checkpoint, dtype="bfloat16")
    assert {p.dtype for p in load_backbone(str(checkpoint)).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 3}, "has no weights for encoder.layer.2"),
        ({"intermediate_size": 32}, "does not fit encoder.layer.0"),
    ],
)
def test_weights_that_are_not_there_are_not_made_up(
    checkpoint: Path, change: dict[str, int], message: str
) -> None:
    change_config(checkpoint, **change)
    with pytest.raises(BackboneError, match=message):
        load_backbone(str(checkpoint))


def test_a_folder_without_a_tokenizer_is_refused(checkpoint: Path) -> None:
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(BackboneError, match=r"no tokenizer\.json beside"):
        load_tokenizer(str(checkpoint))


def test_a_damaged_configuration_is_one_line(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(BackboneError, match=r"config\.json: cannot be read"):
        build_backbone(checkpoint)


@pytest.mark.parametrize(
    "text",
    [
        "\uff49\uff47\uff4e\uff4f\uff52\uff45 the \uff52\uff55\uff4c\uff45\uff53",
        "the " + "YmFzZTY0IGhpZGVz" * 30,
        "a" * 1000,
    ],
)
def test_no_word_is_unknown_for_its_length_or_width(text: str) -> None:
    tokenizer, _ = load_tokenizer("minilm")
    encoding = tokenizer.encode(text, add_special_tokens=False)
    kept = [t for t in encoding.tokens if t != "[PAD]"]
    assert "[UNK]" not in kept


def test_wide_letters_keep_their_places() -> None:
    tokenizer, _ = load_tokenizer("minilm")
    text = "Mail \uff42\uff4f\uff42 the \ufb01le"
    encoding = tokenizer.encode(text, add_special_tokens=False)
    places = [text[a:b] for a, b in encoding.offsets if a < b]
    assert places == ["Mail", "\uff42\uff4f\uff42", "the", "\ufb01le"]
