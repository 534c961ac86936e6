"""Putting thin layers in the place of a wide one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from workers.engine.graph.edit import drop_unread
from workers.engine.graph.graph import Graph, name_of
from workers.engine.passes.factorizing.split import Part


def ints_of(node: NodeProto, name: str, length: int, default: int) -> list[int]:
    """An attribute that is a list of integers, or what it means to leave it out."""
    found = next((list(a.ints) for a in node.attribute if a.name == name), None)
    return found or [default] * length


def split_node(graph: Graph, weight: str, outputs: Sequence[str], parts: Sequence[Part]) -> None:
    """Replace the layers that make `outputs` from this weight; all of them read the same thin weights."""
    names = [f"{weight}.part{number}" for number in range(1, len(parts) + 1)]
    graph.model.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(part.weight), name)
        for part, name in zip(parts, names, strict=True)
    )
    nodes: list[NodeProto] = []
    for node in graph.nodes:
        nodes.extend(_thin(node, names, parts) if node.output[0] in outputs else [node])
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(nodes)
    graph.reindex()
    drop_unread(graph)


def _thin(node: NodeProto, weights: Sequence[str], parts: Sequence[Part]) -> list[NodeProto]:
    """The last keeps name, output and bias; the others are named after it."""
    made, value = [], node.input[0]
    for number, (weight, part) in enumerate(zip(weights, parts, strict=True), 1):
        last = number == len(parts)
        output = node.output[0] if last else f"{node.output[0]}.part{number}"
        inputs = [value, weight, *(node.input[2:] if last else [])]
        name = name_of(node) if last else f"{name_of(node)}.part{number}"
        made.append(helper.make_node(node.op_type, inputs, [output], name, **_attributes(node, part, last=last)))
        value = output
    return made


def _attributes(node: NodeProto, part: Part, *, last: bool) -> dict[str, Any]:
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Gemm":  # only the first part sees the input, only the last the bias
        return {**given, "transA": 0} if last else {key: given[key] for key in ("transA", "transB") if key in given}
    if node.op_type == "MatMul":
        return {}
    return _window(node, part)


def _window(node: NodeProto, part: Part) -> dict[str, Any]:
    """A convolution strides and pads along the axes that its part of the kernel is wide in."""
    pads = ints_of(node, "pads", 4, 0)
    wide = part.window  # of a 1 × 1 kernel the first part is told to be wide: it strides and pads
    return {
        "kernel_shape": list(part.weight.shape[2:]),
        "strides": [s if w else 1 for s, w in zip(ints_of(node, "strides", 2, 1), wide, strict=True)],
        "dilations": [d if w else 1 for d, w in zip(ints_of(node, "dilations", 2, 1), wide, strict=True)],
        "pads": [pad if wide[index % 2] else 0 for index, pad in enumerate(pads)],
    }
