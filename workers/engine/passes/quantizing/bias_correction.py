"""Take the mean error that rounded weights bring to a layer's output out of its bias.

Nagel, van Baalen, Blankevoort, Welling: Data-Free Quantization Through Weight Equalization and Bias Correction (ICCV
2019), section 4.2: with weights W + ε an output has the mean error E[εx] per channel, which is subtracted from the
bias. E[εx] is measured, with x what reaches the layer in the quantized graph.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from whetstone.calibration.arrays import Batches
from whetstone.calibration.watching import show, without_outputs
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer
from workers.engine.passes.quantizing.biases import Bias, bias_of, change_bias
from workers.engine.passes.quantizing.watching import session_of

AXES_ARE_INPUTS = 18
"""The opset from which ReduceMean takes its axes as an input."""
TWIN, ERROR, MEAN, AXES = "whetstone_twin/", "whetstone_error/", "whetstone_mean/", "whetstone_axes/"

Errors = dict[str, NDArray[np.float64]]
"""The mean error per output channel, by layer name."""


def correctable(graph: Graph, layers: Sequence[Layer]) -> list[Layer]:
    """The layers that have a place for a bias."""
    return [layer for layer in layers if isinstance(bias_of(graph, layer), Bias)]


def mean_errors(
    before: Graph, after: Graph, layers: Sequence[Layer], batches: Batches, scratch: Path, threads: int
) -> Errors:
    """Measure E[εx] of `correctable` layers in one pass over the samples. Raises CalibrationFailed."""
    if not layers:
        return {}
    watched = without_outputs(after.model)
    for layer in layers:
        _watch(watched, before, after, layer)
    totals: Errors = {}
    count = 0
    with session_of(watched, scratch, threads) as session:
        for batch in batches():
            size = len(next(iter(batch.values())))
            count += size
            for made, mean in session.run(batch).items():
                name = made.removeprefix(MEAN)
                totals[name] = totals.get(name, 0) + size * mean.astype(np.float64)
    return {name: total / count for name, total in totals.items()}


def _watch(watched: ModelProto, before: Graph, after: Graph, layer: Layer) -> None:
    """Add a float twin of a layer, which reads what the quantized one reads, and the mean of how they differ."""
    node, quantized = _node(before, layer), after.find(layer.name)
    same = quantized is not None and quantized.op_type == node.op_type
    twin = NodeProto()
    twin.CopyFrom(node)
    twin.name = twin.output[0] = f"{TWIN}{layer.name}"
    twin.input[0] = quantized.input[0] if quantized is not None and same else node.input[0]
    makes = quantized.output[0] if quantized is not None and same else node.output[0]
    for index, given in enumerate(node.input):
        if index and given:
            twin.input[index] = f"{TWIN}{layer.name}/{index}"
            watched.graph.initializer.append(numpy_helper.from_array(before.weight(given), twin.input[index]))
    error = f"{ERROR}{layer.name}"
    watched.graph.node.extend([twin, helper.make_node("Sub", [makes, twin.output[0]], [error], error)])
    _watch_mean(watched, layer, error, before.opset)


def _node(graph: Graph, layer: Layer) -> NodeProto:
    node = graph.find(layer.name)
    if node is None:
        raise LookupError(layer.name)
    return node


def _watch_mean(watched: ModelProto, layer: Layer, error: str, opset: int) -> None:
    """The mean over all axes but that of the output channels: the second, or the last of a product of matrices."""
    if layer.op == "MatMul":  # of any rank: all but the last axis become one
        shape = numpy_helper.from_array(np.array([-1, layer.shape[-1]], np.int64), f"{ERROR}{layer.name}/shape")
        flat = f"{error}/flat"
        watched.graph.initializer.append(shape)
        watched.graph.node.append(helper.make_node("Reshape", [error, shape.name], [flat], flat))
        error = flat
    axes = [axis for axis in range(len(layer.shape)) if axis != 1]
    made = f"{MEAN}{layer.name}"
    mean = helper.make_node("ReduceMean", [error], [made], made, keepdims=0)
    if opset < AXES_ARE_INPUTS:
        mean.attribute.append(helper.make_attribute("axes", axes))
    else:
        mean.input.append(f"{AXES}{layer.name}")
        watched.graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), mean.input[1]))
    watched.graph.node.append(mean)
    show(watched, made)


def take_out(graph: Graph, layers: Sequence[Layer], errors: Errors) -> Graph:
    """A copy whose biases make up for the mean errors of `correctable` layers."""
    corrected = graph.copy()
    for layer in layers:
        bias = bias_of(corrected, layer)
        if isinstance(bias, Bias):
            change_bias(corrected, bias, 1.0, -errors[layer.name])
    return corrected
