"""Weights and computing in float16; what would overflow stays in float32. Inputs and outputs keep their types.

Every float32 tensor `t` may have a float16 twin `t_fp16`. A node in float16 reads and writes twins; a Cast makes the
one from the other only where somebody needs it, so two neighbours in float32 never meet float16 in between.
"""

from collections.abc import Iterator

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from workers.engine.graph.graph import Graph, name_of
from workers.engine.passes.quantizing.ranges import Ranges

LARGEST = float(np.finfo(np.float16).max)
SAFE = LARGEST / 2
"""Half of what float16 can hold: sums on the way may be larger than what comes out."""
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
TWIN, CAST = "_fp16", "to/"

STAY = frozenset({
    "Cast", "CastLike", "Constant", "ConstantOfShape", "EyeLike", "Range", "RandomNormal", "RandomUniform",
    "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial", "Resize", "Upsample", "QuantizeLinear",
    "DequantizeLinear", "DynamicQuantizeLinear", "NonMaxSuppression", "If", "Loop", "Scan", "SequenceMap",
})  # fmt: skip
"""Ops that name a type, have settings in float32, or hold graphs of their own."""


def out_of_range(graph: Graph, ranges: Ranges) -> dict[str, str]:
    """Nodes that cannot compute in float16, and why: a constant, an input or an output is too large for it, or a
    constant that is not zero would become zero.
    """
    found = {}
    for node in graph.nodes:
        largest = max((_largest(graph, ranges, name) for name in (*node.input, *node.output)), default=0.0)
        if largest > SAFE:
            found[name_of(node)] = f"values up to {largest:.3g} would overflow"
        elif any(_vanishes(graph, name) for name in node.input):
            found[name_of(node)] = "a constant would become zero"
    return found


def _largest(graph: Graph, ranges: Ranges, tensor: str) -> float:
    if tensor in ranges:
        return max(abs(ranges[tensor][0]), abs(ranges[tensor][1]))
    if tensor in graph.constants and graph.dtype(tensor) == "float32":
        values = np.asarray(graph.weight(tensor), np.float32)
        return float(np.abs(values[np.isfinite(values)]).max(initial=0))  # infinity is infinity in float16 too
    return 0.0


def _vanishes(graph: Graph, tensor: str) -> bool:
    """Whether a constant has something in it, and nothing of that is left in float16: an epsilon, for instance."""
    if tensor not in graph.constants or graph.dtype(tensor) != "float32":
        return False
    values = np.asarray(graph.weight(tensor), np.float32)
    return bool(values.any() and (np.abs(values) < SMALLEST).all())


def halved(model: ModelProto, keep: list[str]) -> ModelProto:
    """The model in float16, but for the nodes named in `keep`; the types of its tensors must have been inferred."""
    copy = ModelProto()
    copy.CopyFrom(model)
    _Halving(copy, frozenset(keep)).run()
    return copy


class _Halving:
    """One walk over the nodes in the order they run."""

    def __init__(self, model: ModelProto, keep: frozenset[str]) -> None:
        self._graph, self._keep = model.graph, keep
        self._stored = {tensor.name: tensor for tensor in self._graph.initializer}
        self._floats = set(_float_tensors(model))
        self._wide = {name for name in self._floats if name not in self._stored}  # those that exist as float32
        self._wide -= {name for node in self._graph.node for name in node.output}
        self._twins: set[str] = set()
        self._made: list[NodeProto] = []

    def run(self) -> None:
        for node in self._graph.node:
            self._write(node, half=self._is_half(node))
        for output in self._graph.output:
            self._need_wide(output.name)
        del self._graph.node[:]
        self._graph.node.extend(self._made)
        used = {name for node in self._made for name in _reads(node)} | {out.name for out in self._graph.output}
        stored = [tensor for tensor in self._stored.values() if tensor.name in used]
        del self._graph.initializer[:], self._graph.value_info[:]
        self._graph.initializer.extend(stored)

    def _is_half(self, node: NodeProto) -> bool:
        stays = node.op_type in STAY or name_of(node) in self._keep or node.domain not in ("", "ai.onnx")
        return not stays and any(name in self._floats for name in node.output)

    def _write(self, node: NodeProto, *, half: bool) -> None:
        made = NodeProto()
        made.CopyFrom(node)
        need = self._need_twin if half else self._need_wide
        for name in _reads(node):
            need(name)
        if half:
            for names in (made.input, made.output):
                for index, name in enumerate(names):
                    names[index] = f"{name}{TWIN}" if name in self._floats else name
            self._twins |= {name for name in node.output if name in self._floats}
        else:
            self._wide |= set(node.output)
        self._made.append(made)

    def _need_twin(self, name: str) -> None:
        if name not in self._floats or name in self._twins:
            return
        twin = f"{name}{TWIN}"
        if name in self._stored:
            values = np.asarray(numpy_helper.to_array(self._stored[name]), np.float32)
            limited = np.where(np.isinf(values), values, values.clip(-LARGEST, LARGEST))
            self._stored[twin] = numpy_helper.from_array(limited.astype(np.float16), twin)
        else:
            self._made.append(helper.make_node("Cast", [name], [twin], f"{CAST}{twin}", to=TensorProto.FLOAT16))
        self._twins.add(name)

    def _need_wide(self, name: str) -> None:
        if name not in self._floats or name in self._wide or name in self._stored:
            return
        self._made.append(helper.make_node("Cast", [f"{name}{TWIN}"], [name], f"{CAST}{name}", to=TensorProto.FLOAT))
        self._wide.add(name)


def _float_tensors(model: ModelProto) -> Iterator[str]:
    graph = model.graph
    yield from (tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            yield value.name


def _reads(node: NodeProto) -> Iterator[str]:
    """What a node reads, its inner graphs included."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
            for inner in graph.node:
                yield from _reads(inner)


_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
