"""Where a float16 graph makes NaN or infinity of samples that the float32 graph copes with."""

from collections.abc import Collection, Iterator
from itertools import islice

import torch
from onnx import ModelProto
from torch import Tensor

from whetstone.calibration.arrays import Batches
from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.ops.expansion import expanded
from workers.engine.graph.ops.node import Node
from workers.engine.graph.ops.program import Program
from workers.engine.graph.ops.setting import Setting
from workers.engine.graph.ops.values import Value, natural
from workers.engine.graph.trainable import constants_of, needed
from workers.engine.passes.quantizing.half import CAST, TWIN

TRIED = 4
"""Batches that are run through both graphs."""


def put_back(graph: Graph, before: ModelProto, after: ModelProto, batches: Batches, kept: Collection[str]) -> set[str]:
    """The nodes to keep in float32 beside those kept already: where NaN or infinity first appears, or, where that is in
    float32 already, what it reads. Empty if all is well. Raises Unsupported, naming the node.
    """
    broken = _breaking(before, after, batches)
    makers = {name_of(node): [graph.producer(name) for name in node.input] for node in graph.nodes}
    while broken and broken <= set(kept):
        broken = {name_of(maker) for name in broken for maker in makers.get(name, ()) if maker is not None}
    return broken - set(kept)


def _breaking(before: ModelProto, after: ModelProto, batches: Batches) -> set[str]:
    """Nodes where NaN or infinity first appears in the float16 graph, on samples where the float32 graph has none."""
    found = set[str]()
    for wide, half in zip(*(_alive_each(model, batches) for model in (before, after)), strict=True):
        lost = {name for name, healthy in half.items() if not healthy and wide.get(name.removesuffix(TWIN), False)}
        found.update(_origins(after, lost))
    return found


@torch.no_grad()
def _alive_each(model: ModelProto, batches: Batches) -> list[dict[str, bool]]:
    """Whether each computed float tensor is finite, for the first batches.

    Run op by op in PyTorch, which rounds each result to float16; onnxruntime's CPU computes in float32 in between.
    """
    graph = Graph(expanded(model))
    inputs, outputs = [facts.name for facts in graph.inputs], [facts.name for facts in graph.outputs]
    program = Program(needed(graph, outputs), inputs, outputs, constants_of(graph), Setting(literal=True))
    found: list[dict[str, bool]] = []

    def look(node: Node, value: Value) -> None:
        values = value if isinstance(value, tuple) else (value,)
        for name, made in zip(node.outputs, values, strict=False):
            if isinstance(made, Tensor) and made.is_floating_point():
                found[-1][name] = bool(torch.isfinite(made).all())

    for batch in islice(batches(), TRIED):
        found.append({})
        program.run([natural(batch[name]) for name in inputs], look)
    return found


def _origins(model: ModelProto, lost: set[str]) -> Iterator[str]:
    """The nodes that make a lost tensor of healthy ones; for a Cast, which only narrows, those that read it."""
    for node in model.graph.node:
        if not lost.intersection(node.output) or lost.intersection(node.input):
            continue
        if node.op_type == "Cast" and node.name.startswith(CAST):
            yield from (name_of(reader) for reader in model.graph.node if node.output[0] in reader.input)
        else:
            yield name_of(node)
