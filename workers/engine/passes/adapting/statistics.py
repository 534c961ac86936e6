"""Batch-norm statistics of another domain (Li et al. 2017)."""

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from whetstone.contract.datasets import Split
from whetstone.contract.reports import LayerChange
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph, name_of
from workers.engine.passes.errors import NothingToDo
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.runs import MEAN, VARIANCE, Runs, measure_statistics

BATCH = 32
EPSILON = 1e-5


def adaptable(graph: Graph) -> list[NodeProto]:
    """The batch-norms whose statistics are constants. Raises NothingToDo if there are none."""
    found = [
        node
        for node in graph.nodes
        if node.op_type == "BatchNormalization"
        and all(graph.source(name) is not None for name in (node.input[MEAN], node.input[VARIANCE]))
    ]
    if not found:
        raise NothingToDo(
            "The graph has no batch-norm: it never had any, or they are folded into convolutions.",
            hint="Export the model in training mode, which keeps them, or use the method coral, mmd or "
            "self_distillation.",
        )
    return found


def _statistics(node: NodeProto, graph: Graph) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mean, variance = (graph.weight(node.input[index]).astype(np.float64) for index in (MEAN, VARIANCE))
    return mean, variance


def _change(node: NodeProto, graph: Graph, runs: Runs) -> LayerChange:
    """Measure one batch-norm, and tell how far its mean moved in standard deviations of before."""
    mean, variance = _statistics(node, graph)
    measure_statistics(node, graph, runs)
    new_mean, new_variance = _statistics(node, graph)
    moved = np.abs(new_mean - mean) / np.sqrt(variance + EPSILON)
    ratio = np.sqrt((new_variance + EPSILON) / (variance + EPSILON))
    change = f"mean moved by {np.median(moved):.2g} deviations, deviation {np.median(ratio):.2g} times (medians)"
    return LayerChange(name=name_of(node), op=node.op_type, change=change)


def renew_statistics(graph: Graph, target: Samples, most: int, context: Context) -> tuple[tuple[LayerChange, ...], int]:
    """Measure every batch-norm in place, in the order they run, each on what those before it make by then.

    On up to `most` samples of the train split. Returns what changed, and how many samples were looked at.
    """
    nodes, count = adaptable(graph), min(most, target.count(Split.TRAIN))
    size = 1 if fixed_at_one(graph.inputs) else BATCH
    rows = np.sort(np.random.default_rng(0).permutation(target.count(Split.TRAIN))[:count])
    runs = Runs([batch.inputs for batch in target.batches(Split.TRAIN, size, within=rows)], context.scratch)
    changes = []
    for number, node in enumerate(nodes):
        changes.append(_change(node, graph, runs))
        context.tell((number + 1) / len(nodes), f"measured '{name_of(node)}'", {})
    return tuple(changes), count
