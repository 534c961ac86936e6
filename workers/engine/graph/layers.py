"""The nodes that hold weights, and what there is to count in them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from workers.engine.graph.graph import Array, Graph, attribute, name_of
from workers.engine.graph.storage import elements
from workers.engine.graph.tensors import is_float

MATRIX_RANK = 2
SMALL_INTEGERS = ("int8", "uint8", "int4", "uint4")

WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (1,),
    "MatMul": (1, 0),
    "Gather": (0,),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "ConvInteger": (1,),
    "MatMulInteger": (1, 0),
    "QLinearConv": (3,),
    "QLinearMatMul": (3, 0),
    "FusedConv": (1,),
    "FusedGemm": (1,),
    "FusedMatMul": (1, 0),
    "QGemm": (3,),
    "DynamicQuantizeMatMul": (1,),
    "DynamicQuantizeLSTM": (1, 2),
    "MatMulIntegerToFloat": (1, 0),
    "MatMulNBits": (1,),
}
"""Which inputs of an op are weights when they are constant."""

BIAS_INPUT: dict[str, int] = {
    "Conv": 2, "ConvTranspose": 2, "Gemm": 2, "LSTM": 3, "GRU": 3, "RNN": 3,
    "QLinearConv": 8, "FusedConv": 2, "FusedGemm": 2, "QGemm": 6, "DynamicQuantizeLSTM": 3,
}  # fmt: skip

DATA_INPUTS: dict[str, tuple[int, ...]] = {
    "Resize": (0,), "Upsample": (0,), "Clip": (0,), "Pad": (0,), "Dropout": (0,), "OneHot": (),
    "QuantizeLinear": (0,), "DequantizeLinear": (0,), "QLinearConv": (0, 3, 8), "QLinearMatMul": (0, 3),
    "QGemm": (0, 3, 6), "DynamicQuantizeMatMul": (0, 1, 4), "DynamicQuantizeLSTM": (0, 1, 2, 3),
    "MatMulIntegerToFloat": (0, 1, 6), "MatMulNBits": (0, 1),
}  # fmt: skip
"""Ops whose other inputs are settings (sizes, limits, scales): floating point, but no parameters."""


@dataclass(frozen=True)
class Layer:
    """A node and one of its weights, by the name of the constant that holds it; `shape` is the constant's."""

    name: str
    op: str
    weight: str
    bias: str | None
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """A constant that holds learned numbers. Integers are zero where they equal `zero_point` (broadcast to them)."""

    name: str
    zero_point: Array


def _input(node: NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


def _is_weight(graph: Graph, name: str) -> bool:
    tensor = graph.constants[name]
    return len(tensor.dims) >= MATRIX_RANK and (is_float(tensor) or graph.dtype(name) in SMALL_INTEGERS)


def _layers(graph: Graph, node: NodeProto) -> Iterator[Layer]:
    bias = graph.source(_input(node, BIAS_INPUT.get(node.op_type, len(node.input))))
    for index in WEIGHT_INPUTS.get(node.op_type, ()):
        weight = graph.source(_input(node, index))
        if weight is not None and _is_weight(graph, weight):
            yield Layer(name_of(node), node.op_type, weight, bias, tuple(graph.constants[weight].dims))
            bias = None  # a recurrent node has two weights but one bias


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """The weight-bearing layers in the order they run; a shared weight appears with each of its layers."""
    return tuple(layer for node in graph.nodes for layer in _layers(graph, node))


def _scales_of_dynamic_quantization(graph: Graph, node: NodeProto) -> bool:
    """Whether the node is the Mul of a weight's scale with the scale found at run time."""
    makers = [graph.producer(name) for name in node.input]
    return node.op_type == "Mul" and any(m is not None and m.op_type == "DynamicQuantizeLinear" for m in makers)


def _parameter_inputs(graph: Graph, node: NodeProto) -> Iterator[int]:
    known = {*WEIGHT_INPUTS.get(node.op_type, ()), BIAS_INPUT.get(node.op_type, -1)}
    data = DATA_INPUTS.get(node.op_type, range(len(node.input)))
    if _scales_of_dynamic_quantization(graph, node):
        return
    for index, name in enumerate(node.input):
        tensor = graph.constants.get(name)
        if tensor is None or not tensor.dims or index not in data:
            continue
        if is_float(tensor) or node.op_type == "DequantizeLinear" or (index in known and len(tensor.dims) > 1):
            yield index


def _zero_point(graph: Graph, node: NodeProto, name: str) -> Array:
    given = _input(node, 2) if node.op_type == "DequantizeLinear" else ""
    if given not in graph.constants:
        return np.zeros(())
    values = graph.weight(given)
    if values.size <= 1:
        return values.reshape(())
    rank = len(graph.constants[name].dims)
    axis = attribute(node, "axis", 1) % rank
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])


def parameters_of(graph: Graph) -> tuple[Parameter, ...]:
    """The learned constants of the graph, each once: floats of rank 1 and more, and integers that stand for such.

    Scales, zero points, limits and sizes are settings, so a quantized graph has as many as the one it came from.
    """
    found: dict[str, Parameter] = {}
    for node in graph.nodes:
        for index in _parameter_inputs(graph, node):
            name = node.input[index]
            found.setdefault(name, Parameter(name, _zero_point(graph, node, name)))
    return tuple(found.values())


def count_params(graph: Graph) -> int:
    return sum(elements(graph.constants[p.name]) for p in parameters_of(graph))


def count_nonzero(graph: Graph) -> int:
    """How many parameters are not zero; reads one constant at a time."""
    return sum(int(np.count_nonzero(graph.weight(p.name) != p.zero_point)) for p in parameters_of(graph))
