"""Element-wise non-linearities, and those along an axis."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op


def leaky_relu(node: Node, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.get("alpha", 0.01))


def elu(node: Node, x: Tensor) -> Tensor:
    return F.elu(x, node.get("alpha", 1.0))


def selu(node: Node, x: Tensor) -> Tensor:
    scaled: Tensor = node.get("gamma", 1.0507010) * F.elu(x, node.get("alpha", 1.6732632))
    return scaled


def celu(node: Node, x: Tensor) -> Tensor:
    return F.celu(x, node.get("alpha", 1.0))


def prelu(_: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    line: Tensor = node.get("alpha", 0.2) * x + node.get("beta", 0.5)
    return line.clamp(0, 1)


def gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.get("approximate", "none"))


def swish(node: Node, x: Tensor) -> Tensor:
    return x * torch.sigmoid(node.get("alpha", 1.0) * x)


def clip(_: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Where the limits cross, the upper one holds."""
    return x if low is None and high is None else torch.clamp(x, low, high)


def thresholded_relu(node: Node, x: Tensor) -> Tensor:
    return torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x))


def shrink(node: Node, x: Tensor) -> Tensor:
    limit, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    zero = torch.zeros_like(x)
    return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, zero))


def swiglu(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return swish(node, a) * b


def _along(node: Node, x: Tensor, run: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Before opset 13 the axes from `axis` (by default 1) on were taken as one."""
    if node.opset >= 13:  # noqa: PLR2004
        return run(x, node.get("axis", -1))
    axis = node.get("axis", 1)
    return run(x.flatten(axis), -1).reshape(x.shape)


def softmax(node: Node, x: Tensor) -> Tensor:
    return _along(node, x, torch.softmax)


def log_softmax(node: Node, x: Tensor) -> Tensor:
    return _along(node, x, torch.log_softmax)


def hardmax(node: Node, x: Tensor) -> Tensor:
    """One at the first of the largest, zero elsewhere."""
    return _along(node, x, lambda v, axis: torch.zeros_like(v).scatter(axis, v.argmax(axis, keepdim=True), 1))


ACTIVATIONS = {
    "Relu": op(lambda _, x: torch.relu(x)),
    "LeakyRelu": op(leaky_relu),
    "PRelu": op(prelu, learned=[1]),
    "Elu": op(elu),
    "Celu": op(celu),
    "Selu": op(selu),
    "Sigmoid": op(lambda _, x: torch.sigmoid(x)),
    "HardSigmoid": op(hard_sigmoid),
    "HardSwish": op(lambda _, x: F.hardswish(x)),
    "Swish": op(swish),
    "Mish": op(lambda _, x: F.mish(x)),
    "Softplus": op(lambda _, x: F.softplus(x)),
    "Softsign": op(lambda _, x: F.softsign(x)),
    "Tanh": op(lambda _, x: torch.tanh(x)),
    "Gelu": op(gelu),
    "Erf": op(lambda _, x: torch.erf(x)),
    "Clip": op(clip),
    "ThresholdedRelu": op(thresholded_relu),
    "Shrink": op(shrink),
    "SwiGLU": op(swiglu),
    "Hardmax": op(hardmax, smooth=False),
    "Softmax": op(softmax),
    "LogSoftmax": op(log_softmax),
}
