"""Normalizations. In training batch statistics are used, and the running ones updated in place."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op
from workers.engine.graph.ops.setting import Setting

EPSILON = 1e-5
SCALE_PER_CHANNEL = 21
"""From this opset on GroupNormalization has a scale per channel, before one per group."""


def _moved(old: Tensor, new: Tensor, momentum: float) -> Tensor:
    return (old * momentum + new * (1 - momentum)).to(old.dtype)


def batch_norm(
    node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, setting: Setting
) -> Tensor | tuple[Tensor, ...]:
    """ONNX's momentum is the share of the old statistics, torch's that of the new.

    A node in training mode of its own gives the moved statistics (of the population variance) as outputs.
    """
    momentum, epsilon = node.get("momentum", 0.9), node.get("epsilon", EPSILON)
    if len(node.outputs) == 1 or not node.get("training_mode", 0):
        scale, bias = scale.to(x.dtype), bias.to(x.dtype)
        return F.batch_norm(x, mean, var, scale, bias, setting.training, 1 - momentum, epsilon)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    batch_var, batch_mean = torch.var_mean(x, axes, correction=0)
    y = F.batch_norm(x, None, None, scale, bias, True, 0, epsilon)  # noqa: FBT003 - torch's own order
    return y, _moved(mean, batch_mean, momentum), _moved(var, batch_var, momentum)


def layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
    axis, epsilon = node.get("axis", -1) % x.dim(), node.get("epsilon", EPSILON)
    shape = x.shape[axis:]
    bias = bias if bias is None else bias.expand(shape)
    y = F.layer_norm(x, shape, scale.expand(shape), bias, epsilon)
    if len(node.outputs) == 1:
        return y
    var, mean = torch.var_mean(x.float(), tuple(range(axis, x.dim())), correction=0, keepdim=True)
    return y, mean, (var + epsilon).rsqrt()


def rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    axis = node.get("axis", -1) % x.dim()
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    power = wide.square().mean(tuple(range(axis, x.dim())), keepdim=True)
    return wide.mul(power.add(node.get("epsilon", EPSILON)).rsqrt()).to(scale.dtype).mul(scale)


def instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", EPSILON))


def group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = node.attributes["num_groups"]
    if node.opset < SCALE_PER_CHANNEL:
        scale, bias = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.get("epsilon", EPSILON))


def lp_norm(node: Node, x: Tensor) -> Tensor:
    """Zero where the norm is zero."""
    norm = torch.linalg.vector_norm(x, node.get("p", 2), node.get("axis", -1), keepdim=True)
    empty = norm == 0
    return torch.where(empty, torch.zeros_like(x), x / torch.where(empty, torch.ones_like(norm), norm))


def local_response_norm(node: Node, x: Tensor) -> Tensor:
    """Krizhevsky et al. 2012: across channels; of an even window the larger half comes after."""
    size = node.attributes["size"]
    squares = x.square().flatten(2).unsqueeze(1) if x.dim() > 2 else x.square()[:, None, :, None]  # noqa: PLR2004
    padded = F.pad(squares, (0, 0, (size - 1) // 2, size // 2))
    mean = F.avg_pool2d(padded, (size, 1), stride=1).reshape(x.shape)
    divisor: Tensor = (node.get("bias", 1.0) + node.get("alpha", 1e-4) * mean) ** node.get("beta", 0.75)
    return x / divisor


def mean_variance_norm(node: Node, x: Tensor) -> Tensor:
    axes = node.get("axes", [0, 2, 3])
    var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (var.sqrt() + 1e-9)


def _literal_dropout(node: Node, x: Tensor, ratio: float) -> Tensor:
    """Which values a node keeps that is in training mode by itself; with numpy's generator, as the standard's tests."""
    random = np.random.RandomState(node.get("seed", None))
    return torch.from_numpy(random.uniform(0, 1, x.shape) >= ratio).to(x.device)


def dropout(
    node: Node, x: Tensor, ratio: Tensor | None = None, flag: Tensor | None = None, *, setting: Setting
) -> Tensor | tuple[Tensor, Tensor]:
    """A third input says whether the exporting side was training; what counts is whether this one is."""
    share, wants_mask = 0.5 if ratio is None else float(ratio), len(node.outputs) > 1
    if setting.training and not wants_mask:
        return F.dropout(x, share)
    if setting.literal and flag is not None and bool(flag):
        kept = _literal_dropout(node, x, share)
    else:
        kept = torch.rand_like(x) >= share if setting.training else torch.ones_like(x, dtype=torch.bool)
    dropping = setting.training or (setting.literal and flag is not None and bool(flag))
    scale = 1 / (1 - share) if dropping and share < 1 else 1.0
    made = torch.where(kept, x * scale, torch.zeros_like(x)) if dropping else x
    return (made, kept) if wants_mask else made


NORMALIZATIONS = {
    "BatchNormalization": op(batch_norm, learned=[1, 2], state=[3, 4], modal=True),
    "LayerNormalization": op(layer_norm, learned=[1, 2]),
    "RMSNormalization": op(rms_norm, learned=[1]),
    "InstanceNormalization": op(instance_norm, learned=[1, 2]),
    "GroupNormalization": op(group_norm, learned=[1, 2]),
    "LpNormalization": op(lp_norm),
    "LRN": op(local_response_norm),
    "MeanVarianceNormalization": op(mean_variance_norm),
    "Dropout": op(dropout, blind=[1, 2], modal=True),
}
