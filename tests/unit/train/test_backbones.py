"""What is read from a folder of pretrained weights, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.checkpoints import ARCHITECTURES, make_checkpoint
from transformers import BertConfig, BertForMaskedLM

from routewright.errors import BackboneError
from routewright.train.backbones import (
    build_backbone,
    load_backbone,
    load_tokenizer,
    max_positions,
)


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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_longest_input_is_the_last_that_the_positions_carry(
    architecture: str, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / architecture, architecture)
    if architecture == "mpnet":  # which counts from 1 whatever this says
        change_config(folder, pad_token_id=0)
    backbone = load_backbone(str(folder))
    longest = max_positions(backbone)
    assert longest == 128
    ids = torch.full((1, longest), 7)
    with torch.no_grad():
        assert backbone(input_ids=ids).last_hidden_state.shape[1] == longest
    if backbone.config.model_type in ("roberta", "mpnet"):
        with pytest.raises(
            (IndexError, RuntimeError), match=r"(?i)out of (range|bounds)|in self"
        ):
            backbone(input_ids=torch.full((1, longest + 1), 7))


def test_weights_of_mpnet_are_read_as_they_are_published(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "mpnet", "mpnet")
    expected = load_file(folder / "model.safetensors")
    assert "pooler.dense.weight" in expected
    # As files of transformers before 4.31 have it.
    positions = {"embeddings.position_ids": torch.arange(130).expand(1, -1).contiguous()}
    save_file({**expected, **positions}, folder / "model.safetensors", {"format": "pt"})
    found = load_backbone(str(folder)).state_dict()
    assert {name for name in expected if name not in found} == {
        "pooler.dense.weight",
        "pooler.dense.bias",
    }
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_computed_again_give_the_same_gradients(
    architecture: str, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / architecture, architecture)
    ids = torch.randint(5, 90, (2, 9), generator=torch.Generator().manual_seed(0))
    gradients, num_layers_run = [], []
    for recompute in (False, True):
        backbone = load_backbone(str(folder)).train()
        if recompute:
            backbone.activation_checkpointing_enable({"use_reentrant": False})
        layers = getattr(backbone, "encoder", backbone)
        layers = layers.layer if hasattr(layers, "layer") else layers.layers
        calls: list[int] = []
        inner = next(m for m in layers[0].modules() if isinstance(m, torch.nn.Linear))
        inner.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(0)
        backbone(input_ids=ids).last_hidden_state.square().sum().backward()
        gradients.append({n: p.grad for n, p in backbone.named_parameters()})
        num_layers_run.append(len(calls))
    assert num_layers_run == [1, 2]
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected)


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
