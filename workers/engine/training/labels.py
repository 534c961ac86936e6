"""Which loss the labels of a dataset call for."""

import numpy as np

from whetstone.contract.datasets import Split
from whetstone.contract.losses import LabelLoss
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.graph.shapes import infer_shapes
from workers.engine.training.objective import decisive_output, logits_of


def _tells_one_thing(graph: Graph) -> bool:
    """Whether there is a single output per sample. One whose size cannot be told counts as many."""
    shape = infer_shapes(graph).get(logits_of(graph, decisive_output(graph)))
    return shape is not None and shape[1:] in ((), (1,))


def fitting_loss(graph: Graph, samples: Samples) -> LabelLoss:
    """Numbers: mean squared error. Class ids: cross-entropy, or its binary form for a single output and ids 0 and 1."""
    labels = samples.labels(Split.TRAIN)
    if labels.dtype.kind == "f":
        return LabelLoss.MSE
    if _tells_one_thing(graph) and int(np.max(labels)) <= 1:
        return LabelLoss.BCE
    return LabelLoss.CROSS_ENTROPY
