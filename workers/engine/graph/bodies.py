"""Weights kept within the bodies of If, Loop, Scan and SequenceMap: found, and moved out to where they are learned."""

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from workers.engine.graph.graph import DEFAULT_DOMAINS
from workers.engine.graph.tensors import is_float, nodes_within, subgraphs


@dataclass(frozen=True)
class Inner:
    """A tensor stored in a body under `own`, a name that only has to be unique there; `name` is unique in the model.

    `holder` is the Constant node that holds it; None for an initializer. All are the model's own, not copies.
    """

    name: str
    own: str
    body: GraphProto
    tensor: TensorProto
    holder: NodeProto | None = None


def _bodies(graph: GraphProto, around: str = "") -> Iterator[tuple[str, GraphProto]]:
    """All bodies, outer ones first, with the path to each."""
    for node in graph.node:
        for attribute in node.attribute:
            for body in subgraphs(attribute):
                path = f"{around}{node.output[0]}.{attribute.name}."
                yield path, body
                yield from _bodies(body, path)


def _stored(body: GraphProto, path: str) -> Iterator[Inner]:
    for tensor in body.initializer:
        yield Inner(f"{path}{tensor.name}", tensor.name, body, tensor)
    for node in body.node:
        if node.op_type == "Constant" and node.domain in DEFAULT_DOMAINS:
            own = node.output[0]
            yield from (Inner(f"{path}{own}", own, body, a.t, node) for a in node.attribute if a.name == "value")


def inner_weights(model: ModelProto) -> tuple[Inner, ...]:
    """The float tensors of rank 1 and more that are stored in bodies."""
    found = (inner for path, body in _bodies(model.graph) for inner in _stored(body, path))
    return tuple(inner for inner in found if is_float(inner.tensor) and inner.tensor.dims)


def _rename(body: GraphProto, old: str, new: str) -> None:
    """Let a body and those within it read another name."""
    for node in nodes_within(iter(body.node)):
        for index, name in enumerate(node.input):
            node.input[index] = new if name == old else name
    for within in (body, *(inner for _, inner in _bodies(body))):
        for value in within.output:
            value.name = new if value.name == old else value.name


def _move_out(model: ModelProto, inner: Inner) -> None:
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(inner.tensor)
    tensor.name = inner.name
    _rename(inner.body, inner.own, inner.name)
    if inner.holder is None:
        inner.body.initializer.remove(inner.tensor)
    else:
        inner.body.node.remove(inner.holder)


def moved_out(model: ModelProto) -> ModelProto:
    """The model, or one in which the weights of bodies are constants of the graph, which its bodies read."""
    if not inner_weights(model):
        return model
    moved = ModelProto()
    moved.CopyFrom(model)
    for inner in inner_weights(moved):
        _move_out(moved, inner)
    return moved
