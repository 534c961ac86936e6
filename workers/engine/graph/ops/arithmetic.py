"""Element-wise arithmetic and comparison, with numpy's broadcasting."""

from functools import reduce

import torch
from torch import Tensor

from workers.engine.graph.ops.node import Node, op


def div(_: Node, a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def mod(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def minimum(_: Node, *values: Tensor) -> Tensor:
    return reduce(torch.minimum, values)


def maximum(_: Node, *values: Tensor) -> Tensor:
    return reduce(torch.maximum, values)


def total(_: Node, *values: Tensor) -> Tensor:
    return reduce(torch.add, values)


def mean(node: Node, *values: Tensor) -> Tensor:
    return total(node, *values) / len(values)


ARITHMETIC = {
    "Add": op(lambda _, a, b: a + b, learned=[0, 1], many=True),
    "Sub": op(lambda _, a, b: a - b, learned=[0, 1], many=True),
    "Mul": op(lambda _, a, b: a * b, learned=[0, 1], many=True),
    "Div": op(div, learned=[0, 1], many=True),
    "Pow": op(lambda _, a, b: a**b),
    "Mod": op(mod),
    "Min": op(minimum),
    "Max": op(maximum),
    "Sum": op(total),
    "Mean": op(mean),
    "Neg": op(lambda _, x: -x),
    "Abs": op(lambda _, x: x.abs()),
    "Sqrt": op(lambda _, x: x.sqrt()),
    "Exp": op(lambda _, x: x.exp()),
    "Log": op(lambda _, x: x.log()),
    "Reciprocal": op(lambda _, x: x.reciprocal()),
    "Sin": op(lambda _, x: x.sin()),
    "Cos": op(lambda _, x: x.cos()),
    "Floor": op(lambda _, x: x.floor()),
    "Ceil": op(lambda _, x: x.ceil()),
    "Round": op(lambda _, x: x.round()),
    "Sign": op(lambda _, x: x.sign()),
    "Equal": op(lambda _, a, b: a == b),
    "Greater": op(lambda _, a, b: a > b),
    "GreaterOrEqual": op(lambda _, a, b: a >= b),
    "Less": op(lambda _, a, b: a < b),
    "LessOrEqual": op(lambda _, a, b: a <= b),
    "And": op(lambda _, a, b: a & b),
    "Or": op(lambda _, a, b: a | b),
    "Not": op(lambda _, x: ~x),
    "Where": op(lambda _, c, a, b: torch.where(c, a, b)),
}
