"""Writing down what is computed at run time though it never changes: sizes, limits, and states of nothing but zeros.

Exporters compute the width of a head from the shape of a tensor. A cut must be able to change that number.
"""

from collections.abc import Mapping

import numpy as np
from onnx import NodeProto, numpy_helper

from workers.engine.graph.edit import drop_unread
from workers.engine.graph.graph import DEFAULT_DOMAINS, Graph
from workers.engine.graph.ops.host import HOST
from workers.engine.graph.ops.node import Host, decode
from workers.engine.graph.shapes import Shape

SMALL = 64
"""Lists of sizes are no longer than this."""
STATES = (5, 6)
FORWARDING = frozenset({"Identity", "Slice", "Transpose", "Unsqueeze", "Squeeze", "Reshape", "Gather"})
INTEGERS = ("int64", "int32")


def _value(graph: Graph, node: NodeProto, shapes: Mapping[str, Shape], known: dict[str, Host]) -> Host | None:
    """What a node computes from shapes and small integer constants; None if it needs more."""
    decoded = decode(node, graph.opset)
    if node.op_type == "Shape":
        shape = shapes.get(node.input[0], (None,))
        picked = shape[decoded.get("start", 0) : decoded.get("end", None)]
        return None if None in picked else np.array(picked, np.int64)
    if decoded.op not in HOST or node.op_type in {"ConstantOfShape", "Range", "Expand"}:
        return None
    if any(name and name not in known for name in node.input):
        return None
    try:
        with np.errstate(all="ignore"):
            return np.asarray(HOST[decoded.op](decoded, *(known[name] if name else None for name in node.input)))
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None


def _values(graph: Graph, shapes: Mapping[str, Shape]) -> dict[str, Host]:
    """All small integer values that follow from the shapes, by tensor."""
    known: dict[str, Host] = {
        name: np.asarray(graph.weight(name))
        for name, tensor in graph.constants.items()
        if np.prod(tensor.dims) <= SMALL and graph.dtype(name) in INTEGERS
    }
    for node in graph.nodes:
        value = _value(graph, node, shapes, known) if len(node.output) == 1 else None
        if value is not None and value.size <= SMALL and value.dtype.kind == "i":
            known[node.output[0]] = value
    return known


def _store(graph: Graph, name: str, value: Host) -> None:
    graph.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))


def fold_sizes(graph: Graph, shapes: Mapping[str, Shape], others: Mapping[str, Shape]) -> None:
    """Store as constants the sizes that are the same at two different batches and lengths.

    A Reshape whose sizes do depend on them is told to copy an axis (0) or to infer it (-1) where that says the same.
    """
    first, second = _values(graph, shapes), _values(graph, others)
    outputs = {facts.name for facts in graph.outputs}
    same = {
        name
        for name in (first.keys() & second.keys()) - graph.constants.keys() - outputs
        if first[name].shape == second[name].shape and (first[name] == second[name]).all()
    }
    kept = [node for node in graph.nodes if node.output[0] not in same]
    read = {name for node in kept for name in node.input}
    for name in sorted(same & read):
        _store(graph, name, first[name])
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(kept)
    graph.reindex()
    for node in graph.model.graph.node:
        if node.op_type == "Reshape" and node.domain in DEFAULT_DOMAINS and node.input[1] not in graph.constants:
            _write_sizes(graph, node, shapes, others)
    _remove_idle(graph)


def _write_sizes(graph: Graph, node: NodeProto, shapes: Mapping[str, Shape], others: Mapping[str, Shape]) -> None:
    given, made = ([side.get(name) for side in (shapes, others)] for name in (node.input[0], node.output[0]))
    if any(shape is None or None in shape for shape in (*given, *made)):
        return
    sizes = [_size(axis, given, made) for axis in range(len(made[0] or ()))]
    if sizes.count(-1) > 1:
        return
    name = f"{node.output[0]}.sizes"
    _store(graph, name, np.array(sizes, np.int64))
    node.input[1] = name
    kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
    del node.attribute[:]
    node.attribute.extend(kept)


def _size(axis: int, given: list[Shape | None], made: list[Shape | None]) -> int:
    """A number if it is the same in both shapes, 0 for that of the same axis of the input, -1 for what is left."""
    ours = [shape[axis] if shape is not None else None for shape in made]
    theirs = [shape[axis] if shape is not None and axis < len(shape) else None for shape in given]
    if ours[0] == ours[1] and ours[0] is not None:
        return ours[0]
    return 0 if ours == theirs else -1


def drop_zero_states(graph: Graph) -> None:
    """Recurrent nodes begin with zeros by themselves; states computed as zeros would only tie layers to each other."""
    for node in graph.model.graph.node:
        if node.op_type not in {"LSTM", "GRU", "RNN"}:
            continue
        for index in STATES:
            if index < len(node.input) and node.input[index] and _is_zero(graph, node.input[index]):
                node.input[index] = ""
    graph.reindex()
    _remove_idle(graph)


def _is_zero(graph: Graph, name: str) -> bool:
    """Whether a computed tensor holds nothing but zeros."""
    node = graph.producer(name)
    while node is not None and node.op_type in FORWARDING:
        name, node = node.input[0], graph.producer(node.input[0])
    if name in graph.constants:
        return not np.any(graph.weight(name))
    if node is None or node.op_type not in {"Expand", "ConstantOfShape"}:
        return False
    if node.op_type == "Expand":
        return node.input[0] in graph.constants and not np.any(graph.weight(node.input[0]))
    return all(not np.any(numpy_helper.to_array(attribute.t)) for attribute in node.attribute)


def _remove_idle(graph: Graph) -> None:
    """Remove nodes whose outputs nothing reads, and constants that only they read."""
    needed = {facts.name for facts in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output) or any(attribute.HasField("g") for attribute in node.attribute):
            kept.append(node)
            needed.update(node.input)
            needed.update(_read_inside(node))
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(reversed(kept))
    graph.reindex()
    drop_unread(graph)


def _read_inside(node: NodeProto) -> set[str]:
    bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    inner = {name for body in bodies for each in body.node for name in (*each.input, *_read_inside(each))}
    return inner | {value.name for body in bodies for value in body.output}
