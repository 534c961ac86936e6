"""The shapes of all tensors, as far as they follow from those of the inputs."""

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorShapeProto, helper, numpy_helper

from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.host import HOST
from workers.engine.graph.ops.node import Host, Node, decode
from workers.engine.graph.storage import elements
from workers.engine.graph.tensors import nodes_within

Shape = tuple[int | None, ...]

ROUNDS = 20
SMALL = 1024
"""Constants up to so many elements may be sizes and axes, which inference must read; others are only weights."""


def _skeleton(graph: Graph) -> ModelProto:
    """The model without its weights' values, so that inference costs no memory for them."""
    source = graph.model.graph
    model = ModelProto(ir_version=graph.model.ir_version, opset_import=graph.model.opset_import)
    model.functions.extend(graph.model.functions)
    model.graph.name = source.name or "graph"
    model.graph.input.extend(source.input)
    model.graph.output.extend(source.output)
    model.graph.node.extend(source.node)
    given = {value.name for value in source.input}
    for tensor in source.initializer:
        if elements(tensor) <= SMALL:
            model.graph.initializer.append(tensor)
        elif tensor.name not in given:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(value)
    return model


def _is_open(dim: TensorShapeProto.Dimension) -> bool:
    return not (dim.HasField("dim_value") and dim.dim_value > 0)


def _bind(model: ModelProto, names: set[str], input_shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give open axes a number: the shape asked for, and 1 for the first axis and all that share its name."""
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, input_shapes.get(value.name, ()), strict=False):
            dim.dim_value = size
    inputs = [value.type.tensor_type.shape.dim for value in model.graph.input if value.name in names]
    batch = {dims[0].dim_param for dims in inputs if dims and _is_open(dims[0])}
    for dims in inputs:
        for index, dim in enumerate(dims):
            if _is_open(dim) and (index == 0 or (dim.dim_param and dim.dim_param in batch)):
                dim.dim_value = 1


def _shapes(graph: Graph, model: ModelProto) -> dict[str, Shape]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, Shape] = {name: tuple(t.dims) for name, t in graph.constants.items()}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        declared = value.type.tensor_type
        if declared.HasField("shape"):
            shapes.setdefault(value.name, tuple(None if _is_open(dim) else dim.dim_value for dim in declared.shape.dim))
    return shapes


def _is_large(node: Node, known: dict[str, Host]) -> bool:
    """Whether a node would make a large value of small ones; a stranger may ask for terabytes."""
    match node.op:
        case "ConstantOfShape":
            return bool(prod(known[node.inputs[0]].tolist()) > SMALL)
        case "Range":
            start, limit, step = (known[name].item() for name in node.inputs)
            return bool((limit - start) / step > SMALL)
        case _:
            return False


def _value(node: NodeProto, opset: int, shapes: dict[str, Shape], known: dict[str, Host]) -> Host | None:
    """What a node computes from sizes alone; None if it does not, or cannot be told."""
    decoded = decode(node, opset)
    try:
        if _is_large(decoded, known):
            return None
        if node.op_type == "Shape" and None not in (shape := shapes[node.input[0]]):
            return np.array(shape[decoded.get("start", 0) : decoded.get("end", None)], np.int64)
        with np.errstate(all="ignore"):
            return HOST[decoded.op](decoded, *(known[name] if name else None for name in node.input))
    except (ArithmeticError, LookupError, TypeError, ValueError):  # not from sizes, or no valid arithmetic
        return None


def _fold_sizes(model: ModelProto, opset: int, shapes: dict[str, Shape]) -> bool:
    """Replace arithmetic on sizes that are known by now with its results. Returns whether there was any."""
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kept, made = [], []
    for node in model.graph.node:
        value = _value(node, opset, shapes, known) if len(node.output) == 1 else None
        if value is None or value.size > SMALL:
            kept.append(node)
            continue
        known[node.output[0]] = value
        made.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), node.output[0]))
    if made:
        del model.graph.node[:]
        model.graph.node.extend(kept)
        model.graph.initializer.extend(made)
    return bool(made)


def infer_shapes(graph: Graph, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Shape]:
    """Shapes by tensor name at the given full input shapes; where none is given, at batch 1 (first axis).

    None stands for an axis that does not follow; a tensor of unknown rank is missing. onnx's own inference stops at
    reshapes by computed sizes; those are computed here, and inference goes on from there, until nothing is gained.
    """
    model = _skeleton(graph)
    _bind(model, {facts.name for facts in graph.inputs}, input_shapes or {})
    shapes = _shapes(graph, model)
    for _ in range(ROUNDS):
        if not _fold_sizes(model, graph.opset, shapes):
            break
        shapes |= _shapes(graph, model)
    return shapes


def has_subgraphs(graph: Graph) -> bool:
    """Whether there are nodes with bodies of their own, whose cost depends on the data."""
    return sum(1 for _ in nodes_within(iter(graph.nodes))) > len(graph.nodes)


def count_activations(graph: Graph, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> int:
    """Elements of all that nodes make at batch 1 (or the given full input shapes), as far as shapes are known."""
    shapes = infer_shapes(graph, input_shapes)
    made = (shapes.get(name) for node in graph.nodes for name in node.output)
    return sum(prod(dim for dim in shape if dim is not None) for shape in made if shape is not None)
