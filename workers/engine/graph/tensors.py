"""Names of types, and what the graph declares of its tensors."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from whetstone.contract.models import TensorFacts


def dtype_name(elem_type: int) -> str:
    """The numpy name of an ONNX element type: `float32`, `int64`, `bfloat16`, …, and `string`."""
    if elem_type == TensorProto.STRING:
        return "string"
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)).name


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.dim_param:
        return dim.dim_param
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None


def tensor_facts(value: ValueInfoProto) -> TensorFacts:
    """What is declared; something other than a dense tensor has its kind (`sequence_type`, `map_type`) as dtype.

    An undeclared rank reads as no dimensions.
    """
    kind = value.type.WhichOneof("value") or "unknown"
    if kind != "tensor_type":
        return TensorFacts(name=value.name, dtype=kind, shape=())
    declared: TypeProto.Tensor = value.type.tensor_type
    shape = tuple(_dimension(dim) for dim in declared.shape.dim)
    return TensorFacts(name=value.name, dtype=dtype_name(declared.elem_type), shape=shape)


def is_float(tensor: TensorProto) -> bool:
    return tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def subgraphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    """The bodies that an attribute holds."""
    if attribute.type == AttributeProto.GRAPH:
        yield attribute.g
    yield from attribute.graphs


def nodes_within(nodes: Iterator[NodeProto]) -> Iterator[NodeProto]:
    """The nodes and those of their subgraphs (If, Loop, Scan bodies), depth first."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for body in subgraphs(attribute):
                yield from nodes_within(iter(body.node))


def all_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of the model: the graph's, its subgraphs', its local functions'."""
    yield from nodes_within(iter(model.graph.node))
    for function in model.functions:
        yield from nodes_within(iter(function.node))


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    sparses = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    for sparse in (*sparses, *attribute.sparse_tensors):
        yield from (sparse.values, sparse.indices)


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor of the model, wherever it hides: initializers, attributes, subgraphs, functions."""
    yield from _graph_tensors(model.graph)
    for node in all_nodes(model):
        for attribute in node.attribute:
            yield from _attribute_tensors(attribute)
            for body in subgraphs(attribute):
                yield from _graph_tensors(body)
