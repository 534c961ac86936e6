"""The bias of a layer: where it is, and changing it for that layer alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.layers import BIAS_INPUT, MATRIX_RANK, Layer
from workers.engine.graph.readers import is_read_once, only_reader

Floats = NDArray[np.float64]

OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Bias:
    """An input of the layer itself, or of the Add behind a MatMul; `tensor` is empty where none is given yet."""

    node: NodeProto
    index: int
    tensor: str


def bias_of(graph: Graph, layer: Layer) -> Bias | str:
    """Where the bias of a layer is, or can be put; else the reason why there is no place for one."""
    node = graph.find(layer.name)
    if node is None or node.op_type not in OPS or node.input[1] != layer.weight:
        return f"the bias of a {layer.op} is not one number per channel of one weight"
    if node.op_type == "MatMul":
        return _behind(graph, node) if len(layer.shape) == MATRIX_RANK else "its weight is no matrix"
    index = BIAS_INPUT[node.op_type]
    tensor = node.input[index] if index < len(node.input) else ""
    return Bias(node, index, tensor) if not tensor or tensor in graph.constants else "its bias is computed"


def _behind(graph: Graph, node: NodeProto) -> Bias | str:
    """The constant that a MatMul's result is added to."""
    reader = only_reader(graph, node.output[0])
    if reader is not None and reader.op_type == "Add":
        for index, tensor in enumerate(reader.input):
            if tensor in graph.constants and graph.dtype(tensor) == "float32":
                return Bias(reader, index, tensor)
    return "it has no bias"


def change_bias(graph: Graph, bias: Bias, factor: Floats | float, term: Floats | float) -> None:
    """Make it bias · factor + term, each one number per output channel. What others read too is copied first."""
    old = np.asarray(graph.weight(bias.tensor), np.float64) if bias.tensor else np.zeros(())
    new = np.asarray(old * factor + np.asarray(term) / _scale(bias.node), np.float32)
    if bias.tensor and is_read_once(graph, bias.tensor):
        graph.set_weight(bias.tensor, new)
        return
    own = f"{name_of(bias.node)}_own_bias"
    graph.model.graph.initializer.append(numpy_helper.from_array(new, own))
    if bias.index < len(bias.node.input):
        bias.node.input[bias.index] = own
    else:
        bias.node.input.append(own)
    graph.reindex()


def _scale(node: NodeProto) -> float:
    """What a Gemm multiplies its bias by."""
    found = next((given.f for given in node.attribute if given.name == "beta"), 1.0)
    return float(found) if node.op_type == "Gemm" else 1.0
