"""Functions that a file defines itself: written out where they are called, so that passes see their nodes."""

from collections.abc import Iterable

from onnx import FunctionProto, ModelProto, NodeProto, inliner

from workers.engine.graph.tensors import nodes_within
from workers.engine.importers.errors import UnsafeFile

MAX_NODES = 1_000_000

Key = tuple[str, str]


def _count(nodes: Iterable[NodeProto], functions: dict[Key, FunctionProto], counted: dict[Key, int]) -> int:
    """How many nodes there would be; a function that calls itself has too many."""
    total = 0
    for node in nodes_within(iter(nodes)):
        key = (node.domain, node.op_type)
        if key in functions and key not in counted:
            counted[key] = MAX_NODES + 1
            counted[key] = _count(functions[key].node, functions, counted)
        total += counted.get(key, 1)
    return total


def without_functions(model: ModelProto) -> ModelProto:
    """The same model without local functions. Raises UnsafeFile if they would unfold without end."""
    if not model.functions:
        return model
    functions = {(function.domain, function.name): function for function in model.functions}
    if _count(model.graph.node, functions, {}) > MAX_NODES:
        raise UnsafeFile(f"The model's functions call each other so that more than {MAX_NODES:,} nodes would come out.")
    return inliner.inline_local_functions(model)
