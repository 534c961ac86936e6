"""Losses that sit in a graph."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op

NOBODY = -(2**31)
"""No label has this value: nothing is ignored."""


def negative_log_likelihood(node: Node, scores: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Scores [N, C, …], target [N, …]."""
    flat = scores.reshape(*scores.shape[:2], -1)
    labels = target.reshape(target.shape[0], -1).long()
    ignored, how = node.get("ignore_index", NOBODY), node.get("reduction", "mean")
    loss = F.nll_loss(flat, labels, weight, ignore_index=ignored, reduction=how)
    return loss.reshape(target.shape) if how == "none" else loss


def softmax_cross_entropy(
    node: Node, scores: Tensor, target: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss, and the logarithms of the probabilities."""
    logs = torch.log_softmax(scores, 1)
    return negative_log_likelihood(node, logs, target, weight), logs


LOSSES = {
    "NegativeLogLikelihoodLoss": op(negative_log_likelihood, blind=[2]),
    "SoftmaxCrossEntropyLoss": op(softmax_cross_entropy, blind=[2]),
}
