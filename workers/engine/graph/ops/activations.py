"""Element-wise non-linearities, and those along an axis."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op


def leaky_relu(node: Node, x: Tensor) -> Tensor:
    return F.leaky_relu(x, node.get("alpha", 0.01))


def elu(node: Node, x: Tensor) -> Tensor:
    return F.elu(x, node.get("alpha", 1.0))


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
    return x if low is None and high is None else torch.clamp(x, low, high)


def softmax(node: Node, x: Tensor) -> Tensor:
    return torch.softmax(x, node.get("axis", -1))


def log_softmax(node: Node, x: Tensor) -> Tensor:
    return torch.log_softmax(x, node.get("axis", -1))


ACTIVATIONS = {
    "Relu": op(lambda _, x: torch.relu(x)),
    "LeakyRelu": op(leaky_relu),
    "PRelu": op(prelu, learned=[1]),
    "Elu": op(elu),
    "Celu": op(celu),
    "Selu": op(lambda _, x: F.selu(x)),
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
    "Softmax": op(softmax),
    "LogSoftmax": op(log_softmax),
}
