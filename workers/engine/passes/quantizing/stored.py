"""Lines of the report: in what a layer's weight is stored now, or why it stayed in float."""

from onnx import AttributeProto, ModelProto, NodeProto

from whetstone.contract.reports import LayerChange
from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.graph.tensors import subgraphs


def stored(layer: Layer, after: str, reason: str | None, before: str = "float32") -> LayerChange:
    """A layer whose weight became `after`, or for a reason stayed as it was."""
    return LayerChange(
        name=layer.name,
        op=layer.op,
        change="kept in float" if reason else "quantized",
        before=before,
        after=before if reason else after,
        kept_because=reason,
    )


def inner_layers(graph: Graph) -> list[LayerChange]:
    """Layers in the bodies of control flow, which stay as they are."""
    return [change for node in graph.nodes for given in node.attribute for change in _within(graph, node, given)]


def _within(graph: Graph, node: NodeProto, given: AttributeProto) -> list[LayerChange]:
    reason = f"it is in the body of the {node.op_type} '{name_of(node)}'"
    found = []
    for body in subgraphs(given):
        inner = Graph(ModelProto(graph=body))
        read = {name for inside in body.node for name in inside.input} - inner.constants.keys()
        inner.model.graph.initializer.extend(graph.constants[name] for name in sorted(read & graph.constants.keys()))
        inner.reindex()
        found += [stored(layer, "", reason, inner.dtype(layer.weight)) for layer in layers_of(inner)]
        found += inner_layers(inner)
    return found
