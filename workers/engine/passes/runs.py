"""What tensors inside a graph are on given inputs, batch by batch; and batch-norm statistics measured by it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, helper

from whetstone.calibration.session import Session
from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.tensors import nodes_within

MEAN, VARIANCE = 3, 4


def _probe(graph: Graph, tensor: str, folder: Path) -> tuple[Session, set[str]]:
    """A session that computes one tensor of the graph, and nothing beyond it; and the tensors that this takes."""
    needed, kept = {tensor}, []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(name for inner in nodes_within(iter([node])) for name in inner.input)
    model = ModelProto(ir_version=graph.model.ir_version, opset_import=graph.model.opset_import)
    model.functions.extend(graph.model.functions)
    model.graph.name = "probe"
    model.graph.node.extend(reversed(kept))
    model.graph.input.extend(value for value in graph.model.graph.input if value.name in needed)
    model.graph.initializer.extend(each for each in graph.model.graph.initializer if each.name in needed)
    model.graph.output.append(helper.make_empty_tensor_value_info(tensor))
    path = folder / "probe.onnx"
    Graph(model).save(path)
    return Session(path), needed


class Runs:
    """Inputs, run through a graph up to a tensor."""

    def __init__(self, inputs: list[dict[str, Array]], scratch: Path) -> None:
        self._inputs, self._scratch = inputs, scratch
        self.samples = sum(len(next(iter(feed.values()))) for feed in inputs)

    def values(self, graph: Graph, tensor: str) -> Iterator[Array]:
        """The tensor's value for each batch."""
        if tensor in self._inputs[0]:
            yield from (feed[tensor] for feed in self._inputs)
            return
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            session, needed = _probe(graph, tensor, Path(folder))
            for feed in self._inputs:
                yield session.run({name: value for name, value in feed.items() if name in needed})[tensor]


def measure_statistics(node: NodeProto, graph: Graph, runs: Runs) -> None:
    """Give a batch-norm the mean and variance that its input has now."""
    count, total, square = 0, np.zeros(()), np.zeros(())
    for value in runs.values(graph, node.input[0]):
        axes = tuple(axis for axis in range(value.ndim) if axis != 1)
        wide = value.astype(np.float64)
        count += wide.size // wide.shape[1]
        total, square = total + wide.sum(axes), square + np.square(wide).sum(axes)
    mean = total / count
    variance = np.maximum(square / count - np.square(mean), 0)
    graph.set_weight(node.input[MEAN], mean.astype(np.float32))
    graph.set_weight(node.input[VARIANCE], variance.astype(np.float32))
