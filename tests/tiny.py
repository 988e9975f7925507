"""A tiny model whose answers are known beforehand, in real files: tokenizer, graph, bundle.

The graph looks up one vector a token and has no attention: digits are entities of type NUMBER,
the letter ``x`` makes a text an attack, and topics follow from random weights. One character is
one token of the byte-level tokenizer and of the word-piece tokenizer alike.
"""

import json
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from routewright.bundle import (
    Bundle,
    BundleManifest,
    ModelInfo,
    calibrations_to_plain,
    transitions_to_plain,
    write_bundle,
)
from routewright.calibration import TaskCalibration
from routewright.encoding import EncodingConfig, TextEncoder
from routewright.runtime.backend import OnnxBackend
from routewright.runtime.golden import first_window_logits
from routewright.tag_search import Transitions
from routewright.tasks import Task

HIDDEN = 16
ENCODING = EncodingConfig(max_tokens=32, overlap_tokens=8)
TOPIC = Task(name="topic", kind="sequence", labels=("sports", "music", "law"))
ATTACK = Task(
    name="attack",
    kind="sequence",
    labels=("benign", "attack"),
    positive="attack",
    windows="maximum",
)
ENTITIES = Task(
    name="entities", kind="token", labels=("NUMBER", "OTHER"), coarse={"NUMBER": "DIGITS"}
)
MARKERS = {"category": 3, "intent": 4}
"""Column of the letter that decides: ``q`` for category, ``z`` for intent."""
TASKS = (TOPIC, ENTITIES, ATTACK)
GOLDEN_TEXTS = ("call 12 now", "x", "", "José 漢字 👩‍👩‍👧 " * 6)


def word_piece_tokenizer() -> Tokenizer:
    """BERT's kind: lower case, no accents; every letter is a piece, others are unknown."""
    characters = string.ascii_lowercase + string.digits + string.punctuation + "漢字"
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *characters, *(f"##{c}" for c in characters)]
    vocabulary = {name: i for i, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer


def byte_level_tokenizer() -> Tokenizer:
    """ModernBERT's kind: one token a byte, the space before a word counted into its token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["[PAD]", "[CLS]", "[SEP]", *alphabet, *(f"Ġ{c}" for c in string.ascii_letters)]
    merges = [("Ġ", c) for c in string.ascii_letters]
    model = models.BPE({name: i for i, name in enumerate(names)}, merges)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    return tokenizer


def tiny_encoder(config: EncodingConfig = ENCODING) -> TextEncoder:
    """The word-piece tokenizer with windows."""
    return TextEncoder(word_piece_tokenizer(), config, pad_id=0)


def write_tiny_graph(path: Path, tasks: Sequence[Task] = TASKS, *, decimals: int = 7) -> None:
    """Write the graph; fewer `decimals` of the weights stand for a lower precision."""
    vectors = _token_vectors(word_piece_tokenizer())
    weights = {"vectors": vectors, **{task.name: _head_weights(task) for task in tasks}}
    initializers = [
        numpy_helper.from_array(array.round(decimals).astype(np.float32), name)
        for name, array in weights.items()
    ]
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["hidden"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "minus_one"], ["mask_BT1"]),
        helper.make_node("Mul", ["hidden", "mask_BT1"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["summed"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        helper.make_node("Div", ["summed", "count"], ["embedding"]),
    ]
    for name, axis in (("one", 1), ("minus_one", -1)):
        initializers.append(numpy_helper.from_array(np.array([axis]), name))
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", HIDDEN])]
    for task in tasks:
        is_token = task.kind == "token"
        source = "hidden" if is_token else "embedding"
        nodes.append(helper.make_node("MatMul", [source, task.name], [f"logits_{task.name}"]))
        shape: list[str | int | None] = ["B", "T"] if is_token else ["B"]
        outputs.append(
            helper.make_tensor_value_info(
                f"logits_{task.name}", TensorProto.FLOAT, [*shape, task.num_outputs]
            )
        )
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def write_tiny_bundle(
    path: Path,
    *,
    tasks: Sequence[Task] = TASKS,
    calibrations: dict[str, TaskCalibration] | None = None,
    transitions: dict[str, Transitions] | None = None,
    name: str = "tiny",
) -> Bundle:
    """A complete bundle of both precisions, int8 being the default."""
    by_task = {task.name: TaskCalibration() for task in tasks} | (calibrations or {})

    def build(folder: Path) -> BundleManifest:
        write_tiny_graph(folder / "model.onnx", tasks)
        write_tiny_graph(folder / "model.int8.onnx", tasks, decimals=1)
        word_piece_tokenizer().save(str(folder / "tokenizer.json"))
        plain = calibrations_to_plain({"int8": by_task, "fp32": by_task})
        _write_json(folder / "calibration.json", plain)
        _write_json(folder / "transitions.json", transitions_to_plain(transitions or {}))
        _write_json(folder / "golden.json", _golden(folder, tasks))
        (folder / "README.md").write_text("# tiny\n", encoding="utf-8")
        (folder / "reports").mkdir()
        _write_json(folder / "reports" / "topic.json", {"accuracy": 0.5})
        return _manifest(tasks, name)

    return write_bundle(path, build)


def _manifest(tasks: Sequence[Task], name: str) -> BundleManifest:
    return BundleManifest(
        name=name,
        created="2026-01-01T00:00:00+00:00",
        routewright_version="0.1.0",
        library_versions={"onnx": onnx.__version__},
        model=ModelInfo(
            architecture="bert", pooling="mean", hidden_size=HIDDEN, num_parameters=1000
        ),
        tasks=tuple(tasks),
        encoding=ENCODING,
        pad_id=0,
        precisions={"int8": "model.int8.onnx", "fp32": "model.onnx"},
        default_precision="int8",
    )


def _golden(folder: Path, tasks: Sequence[Task]) -> dict[str, object]:
    names = [task.name for task in tasks]
    backends = {
        "fp32": OnnxBackend(folder / "model.onnx"),
        "int8": OnnxBackend(folder / "model.int8.onnx"),
    }
    cases = [
        {
            "text": text,
            "expected": {
                precision: {
                    task: np.round(logits.astype(np.float64), 5).tolist()
                    for task, logits in first_window_logits(
                        text, names, tiny_encoder(), backend
                    ).items()
                }
                for precision, backend in backends.items()
            },
        }
        for text in GOLDEN_TEXTS
    ]
    return {"cases": cases, "tolerance": {"fp32": 1e-3, "int8": 1e-3}}


def _token_vectors(tokenizer: Tokenizer) -> NDArray[np.float64]:
    """``(V, H)``: column 0 is 1, 1 marks digits, 2 to 4 mark ``xqz``; the rest is random."""
    size = tokenizer.get_vocab_size()
    vectors = np.random.default_rng(1).normal(size=(size, HIDDEN))
    vectors[:, :5] = [1, 0, 0, 0, 0]
    for piece, token_id in tokenizer.get_vocab().items():
        character = piece.removeprefix("##")
        vectors[token_id, 1] = character.isdigit()
        for column, letter in enumerate("xqz", start=2):
            vectors[token_id, column] = character == letter
    return vectors


def _head_weights(task: Task) -> NDArray[np.float64]:
    """``(H, outputs)``: NUMBER tags win on digits, the positive class from one x in ten.

    Of tasks in `MARKERS` the first label wins from one marker in twenty, else the last.
    """
    weights = np.zeros((HIDDEN, task.num_outputs))
    if task.kind == "token":
        weights[0], weights[1, 1:3] = [0, *[-8] * (task.num_outputs - 1)], 16
    elif task.positive is not None:
        weights[0, 1], weights[2, 1] = -4, 40
    elif task.name in MARKERS:
        weights[MARKERS[task.name], 0], weights[0, -1] = 60, 3
    else:
        weights[5:] = np.random.default_rng(2).normal(size=(HIDDEN - 5, task.num_outputs))
    return weights


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
