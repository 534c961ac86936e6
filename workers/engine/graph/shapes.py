"""The shapes of all tensors, as far as they follow from those of the inputs."""

from collections.abc import Mapping

import onnx
from onnx import ModelProto, TensorShapeProto, helper

from workers.engine.graph.graph import Graph
from workers.engine.graph.storage import elements
from workers.engine.graph.tensors import nodes_within

Shape = tuple[int | None, ...]

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


def infer_shapes(graph: Graph, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Shape]:
    """Shapes by tensor name at the given full input shapes; where none is given, at batch 1 (first axis).

    None stands for an axis that does not follow; a tensor of unknown rank is missing.
    """
    model = _skeleton(graph)
    _bind(model, {facts.name for facts in graph.inputs}, input_shapes or {})
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, Shape] = {name: tuple(t.dims) for name, t in graph.constants.items()}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        declared = value.type.tensor_type
        if declared.HasField("shape"):
            shapes.setdefault(value.name, tuple(None if _is_open(dim) else dim.dim_value for dim in declared.shape.dim))
    return shapes


def has_subgraphs(graph: Graph) -> bool:
    """Whether there are nodes with bodies of their own, whose cost depends on the data."""
    return sum(1 for _ in nodes_within(iter(graph.nodes))) > len(graph.nodes)
