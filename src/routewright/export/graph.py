"""A torch model to one ONNX graph with all heads.

Shape letters: B = batch of windows, T = tokens.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import nn

from routewright.errors import ExportError
from routewright.runtime.backend import EMBEDDING, INPUT_NAMES, logits_name
from routewright.train.modeling import MultiTaskModel
from routewright.train.run import merged

OPSET = 20
"""The first with Gelu as one operator; in ONNX Runtime since 1.17."""
_MAX_BYTES = 2**31
"""Largest protobuf message, and so the largest graph in a single file."""
_EXAMPLE_SHAPE = (3, 24)
"""Of the traced input; no size 1, which tracing would take for a constant."""


class Answers(nn.Module):
    """A model whose forward pass gives the outputs of the graph as a tuple, in their order."""

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """``logits_<task>`` of each task and ``embedding``."""
        return tuple(self.model.answer(input_ids, attention_mask).values())


def output_names(model: MultiTaskModel) -> list[str]:
    """Names of the values that `Answers` gives."""
    return [*(logits_name(name) for name in model.tasks), EMBEDDING]


def frozen_copy(model: MultiTaskModel) -> MultiTaskModel:
    """A merged copy in evaluation mode without gradients; the caller's model stays as it is.

    Attention is written out as plain operators, which every exporter knows and which keep a
    padded batch equal to its rows alone.
    """
    result = merged(copy.deepcopy(model)).cpu().float().eval()
    result.backbone.set_attn_implementation("eager")
    result.requires_grad_(False)
    return result


def example_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Input ids and mask of a padded batch to trace a model with."""
    input_ids_BT = torch.full(_EXAMPLE_SHAPE, 5)
    mask_BT = torch.ones_like(input_ids_BT)
    mask_BT[1, 9:] = 0
    mask_BT[2, 4:] = 0
    return input_ids_BT, mask_BT


def write_onnx(model: MultiTaskModel, path: Path) -> None:
    """Write the graph: batch and length dynamic, weights in the one file.

    Raises:
        ExportError: the model is too large for a single file, or uses what ONNX cannot say.
    """
    answers = Answers(frozen_copy(model)).eval()
    num_bytes = sum(p.numel() * p.element_size() for p in answers.parameters())
    if num_bytes >= _MAX_BYTES:
        raise ExportError(
            f"the model has {num_bytes / 1e9:.1f} GB of weights, an ONNX file holds at most "
            "2 GB; choose a smaller backbone or --format transformers"
        )
    names = output_names(model)
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with quiet_torch():
        try:
            program = torch.onnx.export(
                answers,
                example_inputs(),
                dynamo=True,
                input_names=list(INPUT_NAMES),
                # Not yet the final names: inner values may have them, as BERT's "embedding".
                output_names=[_temporary(name) for name in names],
                dynamic_shapes=(dynamic, dynamic),
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as exc:
            reason = str(exc).strip().splitlines()[0]
            raise ExportError(f"the model cannot be written as ONNX: {reason}") from exc
    assert program is not None, "the dynamo exporter returns a program"
    proto = program.model_proto
    _rename(proto.graph, names)
    _name_dimensions(proto.graph)
    # Shapes of inner values: of no use to ONNX Runtime, and quantisation trips over them.
    proto.graph.ClearField("value_info")
    _drop_traces(proto)
    onnx.save(proto, path)


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Silence what exporters say about themselves; errors still come through."""
    loggers = [logging.getLogger(n) for n in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _drop_traces(proto: onnx.ModelProto) -> None:
    """Forget which lines of which files on this machine the operators came from."""
    for part in (proto, proto.graph, *proto.graph.node):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _temporary(name: str) -> str:
    return f"routewright.output.{name}"


def _rename(graph: onnx.GraphProto, names: list[str]) -> None:
    """Give outputs their final names, moving inner values of those names out of the way."""
    new = {_temporary(name): name for name in names} | {name: f"inner.{name}" for name in names}
    for value in graph.output:
        value.name = new.get(value.name, value.name)
    for weight in graph.initializer:
        weight.name = new.get(weight.name, weight.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [new.get(value, value) for value in values]


def _name_dimensions(graph: onnx.GraphProto) -> None:
    """Readable names for the two dynamic dimensions, which the exporter numbers."""
    batch, tokens = (d.dim_param for d in graph.input[0].type.tensor_type.shape.dim)
    new = {batch: "batch", tokens: "tokens"}
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in new:
                dimension.dim_param = new[dimension.dim_param]
