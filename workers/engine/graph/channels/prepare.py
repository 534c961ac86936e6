"""Making a graph ready to be cut: every number that a cut may change belongs to one node alone."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from whetstone.contract.models import TensorFacts
from workers.engine.graph.channels.fold import drop_zero_states, fold_sizes
from workers.engine.graph.edit import store_constants_as_initializers, store_weights_directly
from workers.engine.graph.graph import DEFAULT_DOMAINS, Graph
from workers.engine.graph.shapes import Shape, infer_shapes
from workers.engine.graph.tensors import all_nodes

SETTINGS = {"Reshape", "Split", "Slice", "Pad", "Gather", "Expand", "Resize", "Concat", "ConstantOfShape"}
"""Ops with integer inputs that a cut may change."""
MADE_UP = (16, 24, 40, 56)
"""Lengths for axes, other than the batch, that the model leaves open."""

OTHERS = ((2, 1), (3, 3))
"""Batches and additions to lengths at which sizes are looked at, to see which of them change."""


Shapes = Mapping[str, tuple[int, ...]]


def full_shapes(graph: Graph, given: Shapes, batch: int = 1, more: int = 0) -> dict[str, tuple[int, ...]]:
    """A full shape for every input, whose open axes have `batch` samples and the lengths given, raised by `more`.

    Where nothing is given some length is assumed, the same for axes of the same name.
    """
    names: dict[str, int] = {}

    def length(facts: TensorFacts, axis: int) -> int:
        declared = facts.shape[axis]
        if isinstance(declared, int):
            return declared
        if axis == 0:
            return batch
        assumed = names.setdefault(declared or f"{facts.name}.{axis}", MADE_UP[len(names) % len(MADE_UP)])
        return (given[facts.name][axis] if facts.name in given else assumed) + more

    return {facts.name: tuple(length(facts, axis) for axis in range(len(facts.shape))) for facts in graph.inputs}


def own_settings(graph: Graph) -> dict[str, str]:
    """Give each node integer constants of its own. Returns the names of the copies with what they are copies of."""
    uses = Counter(name for node in all_nodes(graph.model) for name in node.input)
    uses.update(facts.name for facts in graph.outputs)
    copies: dict[str, str] = {}
    for node in graph.model.graph.node:
        for index, name in enumerate(node.input):
            shared = uses[name] > 1 and name in graph.constants
            if not shared or node.op_type not in SETTINGS or graph.constants[name].data_type != TensorProto.INT64:
                continue
            copy = f"{name}.{node.output[0]}.{index}"
            graph.model.graph.initializer.append(numpy_helper.from_array(graph.weight(name), copy))
            node.input[index] = copy
            copies[copy] = name
    graph.reindex()
    return copies


def rejoin_settings(graph: Graph, copies: dict[str, str]) -> None:
    """Undo `own_settings` where a cut has changed nothing."""
    unchanged = {
        copy: original
        for copy, original in copies.items()
        if original in graph.constants and np.array_equal(graph.weight(copy), graph.weight(original))
    }
    for node in graph.model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = unchanged.get(name, name)
    graph.reindex()


def _explicit_split(graph: Graph, node: NodeProto, shapes: dict[str, Shape]) -> None:
    """Write down the sizes of a Split into equal parts, which a cut may make unequal."""
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    parts = [shapes.get(name) for name in node.output]
    if (len(node.input) > 1 and node.input[1]) or any(part is None or part[axis] is None for part in parts):
        return
    name = f"{node.output[0]}.split"
    sizes = np.array([part[axis] for part in parts if part is not None], np.int64)
    graph.model.graph.initializer.append(numpy_helper.from_array(sizes, name))
    del node.input[1:]
    node.input.append(name)
    kept = [a for a in node.attribute if a.name != "num_outputs"]
    del node.attribute[:]
    node.attribute.extend(kept)


def prepare(graph: Graph, given: Shapes) -> tuple[dict[str, Shape], dict[str, str]]:
    """Change `graph` in place, not its results. Returns the shapes of its tensors and the copies of settings.

    `given` are full shapes of inputs, as far as they are known.
    """
    store_constants_as_initializers(graph)
    store_weights_directly(graph)
    drop_zero_states(graph)
    first, second = (infer_shapes(graph, full_shapes(graph, given, *other)) for other in OTHERS)
    fold_sizes(graph, first, second)
    copies = own_settings(graph)
    shapes = infer_shapes(graph, full_shapes(graph, given))
    for node in graph.model.graph.node:
        if node.op_type == "Split" and node.domain in DEFAULT_DOMAINS:
            _explicit_split(graph, node, shapes)
    graph.reindex()
    return shapes, copies


def make_attribute(node: NodeProto, name: str, value: int, position: int | None) -> None:
    """Set an integer attribute, or one number of a list of them."""
    given = next((a for a in node.attribute if a.name == name), None)
    if position is not None and given is not None:
        given.ints[position] = value
        return
    if given is not None:
        node.attribute.remove(given)
    node.attribute.append(helper.make_attribute(name, value))
