"""Balance activations against weights before int8, so that few large channels cost less.

An encoder's activations have some channels tens of times larger than the rest, and one scale
for all of them leaves the small ones few integers. Dividing a channel by a factor and
multiplying the matching rows of the weights by it changes no result in float, and moves the
difficulty to the weights, which have a scale per output channel.

Source: Xiao et al. 2022, SmoothQuant, https://arxiv.org/abs/2211.10438, equation 4.

Shape letters: B = batch, T = tokens, I = inputs of a matrix product.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from routewright.encoding import IntArray

STRENGTHS = (0.7, 0.65, 0.6, 0.8)
"""Exponents of the activations to try, in order: 0 leaves them, 1 makes their channels equal.
Which errs least differs between models: 0.7 to 0.8 halved the int8 error of the logits of one
MiniLM, 0.6 to 0.75 were best for another (docs/log.md, fourth session). No cost in time."""
_SMALLEST = 1e-5

Sample = tuple[IntArray, IntArray]
"""Input ids and attention mask, both ``(B, T)``."""


def smooth(
    model: onnx.ModelProto,
    products: Sequence[str],
    samples: Sequence[Sample],
    *,
    strength: float = STRENGTHS[0],
) -> None:
    """Rewrite the inputs and weights of the named matrix products in place.

    Args:
        model: an fp32 graph.
        products: names of MatMul nodes whose second input is a weight.
        samples: texts, padded or not, that show how large activations get.
        strength: exponent of the activations, in [0, 1].
    """
    graph = model.graph
    by_activation: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if node.name in set(products):
            by_activation.setdefault(node.input[0], []).append(node)
    largest = _largest_activations(model, list(by_activation), samples)
    weights = {value.name: value for value in graph.initializer}
    divisions: dict[str, onnx.NodeProto] = {}
    for activation, nodes in by_activation.items():
        arrays = [numpy_helper.to_array(weights[node.input[1]]) for node in nodes]
        factor_I = _factors(largest[activation], arrays, strength)
        inverse = numpy_helper.from_array(
            (1 / factor_I).astype(np.float32), f"{activation}.inverse"
        )
        graph.initializer.append(inverse)
        smoothed = f"{activation}.smoothed"
        divisions[activation] = helper.make_node(
            "Mul", [activation, inverse.name], [smoothed], name=smoothed
        )
        for node, array in zip(nodes, arrays, strict=True):
            scaled = (array * factor_I[:, None]).astype(np.float32)
            weights[node.input[1]].CopyFrom(numpy_helper.from_array(scaled, node.input[1]))
            node.input[0] = smoothed
    ordered: list[onnx.NodeProto] = []
    for node in graph.node:
        ordered.append(node)
        ordered.extend(divisions[name] for name in node.output if name in divisions)
    del graph.node[:]
    graph.node.extend(ordered)


def _largest_activations(
    model: onnx.ModelProto, names: Sequence[str], samples: Sequence[Sample]
) -> Mapping[str, NDArray[np.float32]]:
    """Largest absolute value of each channel ``(I,)`` over tokens that are not padding."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session = ort.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    largest: dict[str, NDArray[np.float32]] = {}
    for input_ids_BT, mask_BT in samples:
        feeds = {"input_ids": input_ids_BT, "attention_mask": mask_BT}
        for name, value_BTI in zip(names, session.run(names, feeds), strict=True):
            found_I = np.abs(value_BTI[mask_BT == 1]).max(axis=0)
            largest[name] = np.maximum(largest.get(name, found_I), found_I)
    return largest


def _factors(
    activations_I: NDArray[np.float32], weights: Sequence[NDArray[np.float32]], strength: float
) -> NDArray[np.float64]:
    """What each channel is divided by; the geometric mean is 1."""
    weights_I = np.max([np.abs(array).max(axis=1) for array in weights], axis=0)
    log_I = strength * np.log(np.maximum(activations_I, _SMALLEST).astype(np.float64))
    log_I -= (1 - strength) * np.log(np.maximum(weights_I, _SMALLEST).astype(np.float64))
    factor_I: NDArray[np.float64] = np.exp(log_I - log_I.mean())
    return factor_I
