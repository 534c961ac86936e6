"""Multiply-accumulate operations, counted from shapes."""

from collections.abc import Mapping
from math import prod

from onnx import NodeProto

from workers.engine.graph.graph import Graph, attribute, name_of
from workers.engine.graph.shapes import Shape, has_subgraphs, infer_shapes

CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""The position of the kernel, [out, in / groups, *window]."""
PRODUCTS = frozenset({"MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul"})
RECURRENT = frozenset({"LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"})
UNCOUNTED = frozenset({"Einsum", "Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention", "MatMulNBits"})
"""Ops that multiply, but whose count does not follow from two shapes."""


def _size(*dims: int | None) -> int | None:
    return None if None in dims else prod(dim for dim in dims if dim is not None)


def _product(node: NodeProto, shapes: Mapping[str, Shape], inner: int) -> int | None:
    """Output elements times the length of the axis summed over, `inner` of the left operand."""
    left, out = shapes.get(node.input[0]), shapes.get(node.output[0])
    return None if not left or out is None else _size(*out, left[inner])


def _macs(node: NodeProto, shapes: Mapping[str, Shape]) -> int | None:
    """Of one node; 0 for ops that do not multiply and accumulate, None where a shape is not known."""
    op = node.op_type
    if op in CONVOLUTIONS:
        kernel, out = shapes.get(node.input[CONVOLUTIONS[op]]), shapes.get(node.output[0])
        return None if not kernel or out is None else _size(*out, *kernel[1:])
    if op == "ConvTranspose":
        kernel, source = shapes.get(node.input[1]), shapes.get(node.input[0])
        return None if not kernel or source is None else _size(*source, *kernel[1:])
    if op == "Gemm":
        return _product(node, shapes, 0 if attribute(node, "transA", 0) else 1)
    if op in PRODUCTS:
        return _product(node, shapes, -1)
    if op in RECURRENT:
        source, weights = shapes.get(node.input[0]), [shapes.get(name) for name in node.input[1:3]]
        each = [None if w is None or source is None else _size(*source[:2], *w) for w in weights]
        return None if None in each else sum(n for n in each if n is not None)
    return None if op in UNCOUNTED else 0


def macs_by_node(graph: Graph, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, int | None]:
    """Per node that multiplies and accumulates, at batch 1 unless full input shapes are given."""
    shapes = infer_shapes(graph, input_shapes)
    return {name_of(node): count for node in graph.nodes if (count := _macs(node, shapes)) != 0}


def count_macs(graph: Graph, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> int | None:
    """Of the whole graph at batch 1 (or the given full input shapes); None when any part is not known."""
    each = macs_by_node(graph, input_shapes).values()
    return None if has_subgraphs(graph) or None in each else sum(n for n in each if n is not None)
