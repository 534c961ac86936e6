"""Normalizations. In training batch statistics are used, and the running ones updated in place."""

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op

EPSILON = 1e-5


def batch_norm(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, training: bool
) -> Tensor:
    """ONNX's momentum is the share of the old statistics, torch's that of the new."""
    momentum = 1 - node.get("momentum", 0.9)
    return F.batch_norm(x, mean, var, scale, bias, training, momentum, node.get("epsilon", EPSILON))


def layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = x.shape[node.get("axis", -1) % x.dim() :]
    bias = bias if bias is None else bias.expand(shape)
    return F.layer_norm(x, shape, scale.expand(shape), bias, node.get("epsilon", EPSILON))


def instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", EPSILON))


def dropout(_: Node, x: Tensor, ratio: Tensor | None = None, *given: Tensor | None, training: bool) -> Tensor:
    """A third input says whether the exporting side was training; what counts is whether this one is."""
    del given
    return F.dropout(x, 0.5 if ratio is None else float(ratio), training)


NORMALIZATIONS = {
    "BatchNormalization": op(batch_norm, learned=[1, 2], state=[3, 4], modal=True),
    "LayerNormalization": op(layer_norm, learned=[1, 2]),
    "InstanceNormalization": op(instance_norm, learned=[1, 2]),
    "Dropout": op(dropout, modal=True),
}
