"""One task of a multi-task model as a model of transformers, with its tokenizer.

Where the architecture has a class of its own with the same layers, that class is used and any
program that knows it can load the folder. Otherwise `modeling_routewright` stands in.
"""

import copy
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from routewright.decoding import FloatArray
from routewright.encoding import TextEncoder
from routewright.errors import ParityError
from routewright.export import modeling_routewright
from routewright.export.folder import label_names, refuse_ngrams, write_json
from routewright.export.golden import GOLDEN_TEXTS
from routewright.export.modeling_routewright import (
    RoutewrightConfig,
    RoutewrightForSequenceClassification,
    RoutewrightForTokenClassification,
)
from routewright.runtime.backend import logits_name
from routewright.tasks import Task, TaskKind
from routewright.train.backbones import ARCHITECTURES
from routewright.train.modeling import ModelConfig, MultiTaskModel, SequenceHead, TokenHead

AUTO_CLASSES: Mapping[TaskKind, str] = {
    "sequence": "AutoModelForSequenceClassification",
    "token": "AutoModelForTokenClassification",
}
_CUSTOM_CLASSES = {
    "sequence": RoutewrightForSequenceClassification,
    "token": RoutewrightForTokenClassification,
}


@dataclass(frozen=True)
class NativeClass:
    """A class of transformers and where our head's layers are in it."""

    name: str
    backbone: str
    classifier: str
    dense: str | None = None
    norm: str | None = None


_BERT_TOKEN = NativeClass("BertForTokenClassification", "bert", "classifier")
NATIVE: Mapping[tuple[str, TaskKind], NativeClass] = {
    ("bert", "sequence"): NativeClass(
        "BertForSequenceClassification", "bert", "classifier", "bert.pooler.dense"
    ),
    ("bert", "token"): _BERT_TOKEN,
    ("roberta", "sequence"): NativeClass(
        "RobertaForSequenceClassification", "roberta", "classifier.out_proj", "classifier.dense"
    ),
    ("roberta", "token"): NativeClass("RobertaForTokenClassification", "roberta", "classifier"),
    ("xlm-roberta", "sequence"): NativeClass(
        "XLMRobertaForSequenceClassification",
        "roberta",
        "classifier.out_proj",
        "classifier.dense",
    ),
    ("xlm-roberta", "token"): NativeClass(
        "XLMRobertaForTokenClassification", "roberta", "classifier"
    ),
    ("mpnet", "sequence"): NativeClass(
        "MPNetForSequenceClassification", "mpnet", "classifier.out_proj", "classifier.dense"
    ),
    ("mpnet", "token"): NativeClass("MPNetForTokenClassification", "mpnet", "classifier"),
    ("modernbert", "sequence"): NativeClass(
        "ModernBertForSequenceClassification", "model", "classifier", "head.dense", "head.norm"
    ),
    ("modernbert", "token"): NativeClass(
        "ModernBertForTokenClassification", "model", "classifier", "head.dense", "head.norm"
    ),
}


def native_class(architecture: str, task: Task, config: ModelConfig) -> NativeClass | None:
    """The class of transformers with the layers of the task's head, if there is one."""
    native = NATIVE.get((architecture, task.kind))
    if native is None:
        return None
    has_dense = config.transform and (
        task.kind == "sequence" or ARCHITECTURES[architecture].token_transform
    )
    pooling = ARCHITECTURES[architecture].pooling
    pools_alike = task.kind == "token" or pooling in ("any", config.pooling)
    return native if pools_alike and has_dense == (native.dense is not None) else None


def write_model(model: MultiTaskModel, task: Task, folder: Path) -> NativeClass | None:
    """Write ``config.json`` and ``model.safetensors`` of one task.

    Args:
        model: without adapters.
        task: one of its tasks.
        folder: exists.

    Returns:
        The class of transformers it is; None where the folder brings its own code.

    Raises:
        ExportError: heads of `model` add n-gram scores.
    """
    refuse_ngrams(model)
    native = native_class(model.backbone.config.model_type, task, model.model_config)
    built = _custom(model, task) if native is None else _native(model, task, native)
    config = built.config
    config.architectures = [type(built).__name__]
    config.dtype = "float32"
    if native is None:
        config.auto_map = {
            "AutoConfig": f"modeling_routewright.{RoutewrightConfig.__name__}",
            AUTO_CLASSES[task.kind]: f"modeling_routewright.{type(built).__name__}",
        }
        source = Path(modeling_routewright.__file__)
        shutil.copyfile(source, folder / source.name)
    config.save_pretrained(folder)
    state = {name: value.contiguous() for name, value in built.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return native


def write_tokenizer(encoder: TextEncoder, folder: Path) -> None:
    """Write the tokenizer as AutoTokenizer reads it, truncating at the window.

    Its class is the plain fast tokenizer, which takes ``tokenizer.json`` as it is; the classes
    named after an architecture rebuild it by rules of their own.
    """
    encoder.tokenizer.save(str(folder / "tokenizer.json"))
    special = _special_tokens(encoder)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": encoder.config.max_tokens,
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right",
        "truncation_side": "right",
        "clean_up_tokenization_spaces": False,
        # As here, the name of a special token in a text is text.
        "split_special_tokens": True,
        **special,
    }
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", special)


class TransformersBackend:
    """A folder as transformers loads it, behind the runtime's `Backend` protocol."""

    def __init__(self, folder: Path, task: Task) -> None:
        """Load it through the Auto class of its kind."""
        auto = getattr(transformers, AUTO_CLASSES[task.kind])
        with quiet_transformers():
            self.model: PreTrainedModel = auto.from_pretrained(
                folder, trust_remote_code=_brings_code(folder)
            )
        self.model.eval()
        self.name = logits_name(task.name)

    def run(
        self, input_ids_BT: NDArray[np.int64], attention_mask_BT: NDArray[np.int64]
    ) -> dict[str, FloatArray]:
        """The task's logits by output name."""
        with torch.no_grad():
            outputs = self.model(
                input_ids=torch.from_numpy(input_ids_BT),
                attention_mask=torch.from_numpy(attention_mask_BT),
            )
        return {self.name: outputs.logits.numpy()}


def check_tokenizer(folder: Path, encoder: TextEncoder) -> None:
    """Compare what AutoTokenizer makes of the golden texts with our own first windows.

    Raises:
        ParityError: other token ids.
    """
    with quiet_transformers():
        loaded = transformers.AutoTokenizer.from_pretrained(
            folder, trust_remote_code=_brings_code(folder)
        )
    for number, text in enumerate(GOLDEN_TEXTS, start=1):
        encoded = encoder.encode(text)
        expected = encoder.window_ids(encoded, encoded.windows[0])
        if loaded(text, truncation=True)["input_ids"] != expected:
            raise ParityError(
                f"the tokenizer as transformers loads it gives other tokens for golden text "
                f"{number}; nothing was written; please report the backbone"
            )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence load reports and progress bars; errors still come through."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _brings_code(folder: Path) -> bool:
    return (folder / Path(modeling_routewright.__file__).name).is_file()


def _labels(task: Task) -> dict[str, Any]:
    names = label_names(task)
    plain: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }
    if task.kind == "sequence":
        plain["problem_type"] = "single_label_classification"
    return plain


def _native(model: MultiTaskModel, task: Task, native: NativeClass) -> PreTrainedModel:
    config = copy.deepcopy(model.backbone.config)
    values = {**_labels(task), "classifier_dropout": model.model_config.dropout}
    if config.model_type == "modernbert":
        values |= {"classifier_pooling": model.model_config.pooling, "classifier_bias": False}
        values |= {"classifier_activation": "gelu"}
    for name, value in values.items():
        setattr(config, name, value)
    built: PreTrainedModel = getattr(transformers, native.name)(config)
    layers = {native.backbone: model.backbone, **_head_layers(model, task, native)}
    for place, layer in layers.items():
        # BERT's sequence class has a pooler, which is the head's dense layer here.
        built.get_submodule(place).load_state_dict(
            layer.state_dict(), strict=layer is not model.backbone
        )
    return built


def _head_layers(
    model: MultiTaskModel, task: Task, native: NativeClass
) -> dict[str, nn.Module]:
    head = model.heads[task.name]
    assert isinstance(head, SequenceHead | TokenHead), "every head is one of the two"
    layers: dict[str, nn.Module] = {native.classifier: head.classifier}
    if native.dense is not None and head.transform is not None:
        layers[native.dense] = head.transform[0]
    if native.norm is not None and head.transform is not None:
        layers[native.norm] = head.transform[2]
    return layers


def _custom(model: MultiTaskModel, task: Task) -> PreTrainedModel:
    architecture = ARCHITECTURES[model.backbone.config.model_type]
    head = model.heads[task.name]
    assert isinstance(head, SequenceHead | TokenHead), "every head is one of the two"
    config = RoutewrightConfig(
        backbone=model.backbone.config.to_dict(),
        pooling=model.model_config.pooling,
        dense=head.transform is not None,
        dense_bias=architecture.dense_bias,
        activation="gelu" if architecture.activation is nn.GELU else "tanh",
        norm=architecture.norm and head.transform is not None,
        pad_token_id=model.backbone.config.pad_token_id,
        **_labels(task),
    )
    built = _CUSTOM_CLASSES[task.kind](config)
    built.backbone.load_state_dict(model.backbone.state_dict())
    built.classifier.load_state_dict(head.classifier.state_dict())
    if built.dense is not None and head.transform is not None:
        built.dense.load_state_dict(head.transform[0].state_dict())
        if built.norm is not None:
            built.norm.load_state_dict(head.transform[2].state_dict())
    return built


def _special_tokens(encoder: TextEncoder) -> dict[str, str]:
    """Special tokens by role, as far as the tokenizer has them."""
    tokenizer = encoder.tokenizer
    named = {
        "pad_token": tokenizer.id_to_token(encoder.pad_id),
        "cls_token": tokenizer.id_to_token(encoder.prefix_ids[0])
        if encoder.prefix_ids
        else None,
        "sep_token": tokenizer.id_to_token(encoder.suffix_ids[-1])
        if encoder.suffix_ids
        else None,
    }
    for role, spellings in (
        ("unk_token", ("[UNK]", "<unk>")),
        ("mask_token", ("[MASK]", "<mask>")),
    ):
        named[role] = next((s for s in spellings if tokenizer.token_to_id(s) is not None), None)
    return {role: token for role, token in named.items() if token is not None}
