"""First-order Taylor scores: what a weight's going would change in the loss, gradient times weight."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whetstone.contract.datasets import Split
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable
from workers.engine.training.objective import Objective, as_labels

BATCH = 16

Products = dict[str, NDArray[np.float32]]
"""Gradient times weight, element by element, by the name of the weight."""


def _products(module: Trainable, objective: Objective, inputs: dict[str, Tensor], labels: Tensor) -> Products:
    weights = module.weights
    device = next(iter(weights.values())).device
    with torch.enable_grad():
        made = module({name: value.to(device) for name, value in inputs.items()})
        loss = objective.loss(made[objective.output], as_labels(labels.to(device)))
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {
        name: (gradient * weight).detach().cpu().numpy()
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        if gradient is not None
    }


def each_batch(
    graph: Graph,
    learner: tuple[Trainable, Objective],
    samples: Samples,
    count: int,
    use: Callable[[Products], None],
) -> int:
    """Show `use` the products of one batch of the train split after the other, of `count` samples in all.

    The module is run as in inference. Returns the number of batches.
    """
    module, objective = learner
    size = 1 if fixed_at_one(graph.inputs) else BATCH
    rows = np.random.default_rng(0).permutation(samples.count(Split.TRAIN))[:count]
    was_training, batches = module.training, 0
    module.eval()
    for batch in samples.batches(Split.TRAIN, size, with_labels=True, within=np.sort(rows)):
        inputs = {name: torch.from_numpy(array) for name, array in batch.inputs.items()}
        use(_products(module, objective, inputs, torch.from_numpy(batch.required_labels)))
        batches += 1
    module.train(was_training)
    return batches


def weight_changes(
    graph: Graph, learner: tuple[Trainable, Objective], samples: Samples, count: int
) -> dict[str, NDArray[np.float32]]:
    """Per weight the mean over batches of |gradient · weight|."""
    total: Products = {}

    def add(products: Products) -> None:
        for name, product in products.items():
            total[name] = total.get(name, np.zeros_like(product)) + np.abs(product)

    batches = each_batch(graph, learner, samples, count, add)
    return {name: (values / batches).astype(np.float32) for name, values in total.items()}
