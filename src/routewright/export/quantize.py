"""An fp32 graph to int8: matrix products computed in integers, embedding tables stored as such.

After smoothing, weights have one scale per output channel and activations one per tensor, found
when the graph runs, as `onnxruntime.quantization.quantize_dynamic` does it. Its weights use all
8 bits, though, and then processors without integer dot products (VNNI) saturate where two
neighbouring products of 16 bits add up; weights here are scaled so that no such pair can, and
every processor computes the same integers.

Embedding tables have one scale per row, so a token of small norm keeps its precision; the rows
read are scaled back to float. The heads stay in float: they are a hundredth of the work, and
nothing after them averages errors out.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html

Shape letters: V = vocabulary, H = hidden size, I = inputs, O = outputs of a matrix product.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from routewright.decoding import FloatArray
from routewright.export.smoothing import STRENGTHS, Sample, smooth
from routewright.runtime.backend import EMBEDDING

Scope = Literal["all matrix products", "all but the feed-forward outputs"]
SCOPES: tuple[Scope, ...] = ("all matrix products", "all but the feed-forward outputs")
"""What of the encoder computes in int8, fastest first. The second product of each feed-forward
block reads the most uneven activations: on MiniLM leaving it in float halved the error that is
left, where leaving out the first and last layer, of the same size, took a quarter of it."""

_MIN_TABLE_ROWS = 256
"""Smaller tables (token types) are not worth the extra operators."""


def quantize(
    source: Path,
    destination: Path,
    *,
    scope: Scope,
    samples: Sequence[Sample],
    strength: float = STRENGTHS[0],
) -> None:
    """Write the int8 form of the graph at `source`.

    Args:
        source: an fp32 graph as `write_onnx` makes it.
        destination: the file to write.
        scope: see `SCOPES`.
        samples: inputs that show how large activations get, at least one.
        strength: of `smooth`.
    """
    model = onnx.load(source)
    products = _encoder_products(model.graph)
    if scope == "all but the feed-forward outputs":
        products = {name: shape for name, shape in products.items() if shape[0] <= shape[1]}
    smooth(model, list(products), samples, strength=strength)
    _quantize_products(model.graph, set(products))
    _quantize_tables(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, destination)


def integer_weights(weight_IO: FloatArray) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights as integers, and the scale of each output channel ``(O,)``.

    ``255 * (q[2k] + q[2k + 1])`` fits 16 bits for weights of either sign, so that multiplying
    unsigned bytes by them two at a time, as AVX2 does, never saturates.
    """
    num_inputs, num_outputs = weight_IO.shape
    padded_IO = np.zeros((num_inputs + num_inputs % 2, num_outputs))
    padded_IO[:num_inputs] = weight_IO
    pairs_P2O = padded_IO.reshape(-1, 2, num_outputs)
    pair_O = np.maximum(
        np.maximum(pairs_P2O, 0).sum(axis=1).max(axis=0),
        np.maximum(-pairs_P2O, 0).sum(axis=1).max(axis=0),
    )
    # Rounding adds at most 1 to a pair: 128 * 255 is the last that fits.
    scale_O = pair_O / 127
    scale_O[scale_O == 0] = 1
    return np.rint(weight_IO / scale_O).astype(np.int8), scale_O.astype(np.float32)


def _encoder_products(graph: onnx.GraphProto) -> dict[str, tuple[int, int]]:
    """Matrix products with weights that the embedding depends on: name to (inputs, outputs)."""
    shapes = {value.name: tuple(value.dims) for value in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    open_names = [EMBEDDING]
    while open_names:
        node = producers.get(open_names.pop())
        if node is not None and node.name not in needed:
            needed.add(node.name)
            open_names.extend(node.input)
    found = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.name in needed and node.input[1] in shapes:
            num_inputs, num_outputs = shapes[node.input[1]]
            found[node.name] = (num_inputs, num_outputs)
    return found


def _quantize_products(graph: onnx.GraphProto, names: set[str]) -> None:
    """Replace matrix products by integer ones; one activation is made integer only once."""
    weights = {value.name: value for value in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    for node in graph.node:
        if node.name not in names:
            nodes.append(node)
            continue
        activation, weight = node.input
        if activation not in quantized:
            quantized.add(activation)
            outputs = [f"{activation}.{part}" for part in ("uint8", "scale", "zero")]
            nodes.append(
                helper.make_node(
                    "DynamicQuantizeLinear",
                    [activation],
                    outputs,
                    name=f"{activation}.quantize",
                )
            )
        integers_IO, scale_O = integer_weights(numpy_helper.to_array(weights[weight]))
        graph.initializer.remove(weights[weight])
        graph.initializer.append(numpy_helper.from_array(integers_IO, f"{weight}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale_O, f"{weight}.scale"))
        nodes.extend(_integer_product(node))
    del graph.node[:]
    graph.node.extend(nodes)


def _integer_product(product: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The operators ONNX Runtime fuses into one."""
    activation, weight = product.input
    name, output = product.name, product.output[0]
    sums, floats, scale = (f"{output}.{part}" for part in ("int32", "float", "scale"))
    inputs = [f"{activation}.uint8", f"{weight}.int8", f"{activation}.zero"]
    scales = [f"{activation}.scale", f"{weight}.scale"]
    return [
        helper.make_node("MatMulInteger", inputs, [sums], name=f"{name}.integer"),
        helper.make_node("Cast", [sums], [floats], name=f"{name}.cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", scales, [scale], name=f"{name}.scale"),
        helper.make_node("Mul", [floats, scale], [output], name=f"{name}.output"),
    ]


def _quantize_tables(graph: onnx.GraphProto) -> None:
    """Replace each large table that rows are read from by integers and a scale per row."""
    tables = {value.name: value for value in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    replaced: set[str] = set()
    for node in graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or table.dims[0] < _MIN_TABLE_ROWS:
            nodes.append(node)
            continue
        replaced.add(table.name)
        nodes.extend(_dequantized_rows(node))
    for name in sorted(replaced):
        table_VH = numpy_helper.to_array(tables[name])
        scale_V1 = np.abs(table_VH).max(axis=1, keepdims=True).astype(np.float32) / 127
        scale_V1[scale_V1 == 0] = 1
        integers_VH = np.rint(table_VH / scale_V1).astype(np.int8)
        graph.initializer.remove(tables[name])
        graph.initializer.append(numpy_helper.from_array(integers_VH, f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale_V1, f"{name}.scale"))
    del graph.node[:]
    graph.node.extend(nodes)


def _dequantized_rows(gather: onnx.NodeProto) -> list[onnx.NodeProto]:
    table, ids = gather.input
    output = gather.output[0]
    rows, scale, floats = f"{output}.int8", f"{output}.scale", f"{output}.float"
    return [
        helper.make_node("Gather", [f"{table}.int8", ids], [rows], name=rows),
        helper.make_node("Gather", [f"{table}.scale", ids], [scale], name=scale),
        helper.make_node("Cast", [rows], [floats], name=floats, to=TensorProto.FLOAT),
        helper.make_node("Mul", [floats, scale], [output], name=output),
    ]
