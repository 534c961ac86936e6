"""Element-wise arithmetic and comparison, with numpy's broadcasting."""

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from workers.engine.graph.ops.node import Node, op


def div(_: Node, a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def mod(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def power(_: Node, a: Tensor, b: Tensor) -> Tensor:
    """The result has the type of the base."""
    return torch.pow(a, b.to(a.dtype) if b.dtype != a.dtype and a.is_floating_point() else b).to(a.dtype)


def minimum(_: Node, *values: Tensor) -> Tensor:
    return reduce(torch.minimum, values)


def maximum(_: Node, *values: Tensor) -> Tensor:
    return reduce(torch.maximum, values)


def total(_: Node, *values: Tensor) -> Tensor:
    return reduce(torch.add, values)


def mean(node: Node, *values: Tensor) -> Tensor:
    return total(node, *values) / len(values)


def is_inf(node: Node, x: Tensor) -> Tensor:
    positive, negative = node.get("detect_positive", 1), node.get("detect_negative", 1)
    found = torch.zeros_like(x, dtype=torch.bool)
    found = found | (x == math.inf) if positive else found
    return found | (x == -math.inf) if negative else found


def shift(node: Node, x: Tensor, bits: Tensor) -> Tensor:
    return x << bits if node.attributes["direction"] == "LEFT" else x >> bits


def cumulative_sum(node: Node, x: Tensor, axis: list[int]) -> Tensor:
    return _cumulated(node, x, axis[0], torch.cumsum, 0)


def cumulative_product(node: Node, x: Tensor, axis: list[int]) -> Tensor:
    return _cumulated(node, x, axis[0], torch.cumprod, 1)


def _cumulated(node: Node, x: Tensor, axis: int, run: Callable[[Tensor, int], Tensor], start: int) -> Tensor:
    """Sums or products of all values up to each (`exclusive`: before it), from the other end if `reverse`."""
    x = x.flip(axis) if node.get("reverse", 0) else x
    if node.get("exclusive", 0):
        first = torch.full_like(x.narrow(axis, 0, 1), start)
        x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
    done = run(x, axis).to(x.dtype)
    return done.flip(axis) if node.get("reverse", 0) else done


def einsum(node: Node, *values: Tensor) -> Tensor:
    return torch.einsum(node.attributes["equation"].replace(" ", ""), *values)


ARITHMETIC = {
    "Add": op(lambda _, a, b: a + b, learned=[0, 1], many=True),
    "Sub": op(lambda _, a, b: a - b, learned=[0, 1], many=True),
    "Mul": op(lambda _, a, b: a * b, learned=[0, 1], many=True),
    "Div": op(div, learned=[0, 1], many=True),
    "Pow": op(power),
    "Mod": op(mod),
    "Min": op(minimum),
    "Max": op(maximum),
    "Sum": op(total, learned=range(100), many=True),
    "Mean": op(mean, learned=range(100), many=True),
    "Neg": op(lambda _, x: -x),
    "Abs": op(lambda _, x: x.abs()),
    "Sqrt": op(lambda _, x: x.sqrt()),
    "Exp": op(lambda _, x: x.exp()),
    "Log": op(lambda _, x: x.log()),
    "Reciprocal": op(lambda _, x: x.reciprocal()),
    **{
        name: op(lambda _, x, run=run: run(x))
        for name, run in {
            "Sin": torch.sin,
            "Cos": torch.cos,
            "Tan": torch.tan,
            "Asin": torch.asin,
            "Acos": torch.acos,
            "Atan": torch.atan,
            "Sinh": torch.sinh,
            "Cosh": torch.cosh,
            "Asinh": torch.asinh,
            "Acosh": torch.acosh,
            "Atanh": torch.atanh,
            "Det": torch.linalg.det,
        }.items()
    },
    "Floor": op(lambda _, x: x.floor(), smooth=False),
    "Ceil": op(lambda _, x: x.ceil(), smooth=False),
    "Round": op(lambda _, x: x.round(), smooth=False),
    "Sign": op(lambda _, x: x.sign(), smooth=False),
    "Equal": op(lambda _, a, b: a == b, smooth=False),
    "Greater": op(lambda _, a, b: a > b, smooth=False),
    "GreaterOrEqual": op(lambda _, a, b: a >= b, smooth=False),
    "Less": op(lambda _, a, b: a < b, smooth=False),
    "LessOrEqual": op(lambda _, a, b: a <= b, smooth=False),
    "And": op(lambda _, a, b: a & b, smooth=False),
    "Or": op(lambda _, a, b: a | b, smooth=False),
    "Xor": op(lambda _, a, b: a ^ b, smooth=False),
    "Not": op(lambda _, x: ~x, smooth=False),
    "BitwiseAnd": op(lambda _, a, b: a & b, smooth=False),
    "BitwiseOr": op(lambda _, a, b: a | b, smooth=False),
    "BitwiseXor": op(lambda _, a, b: a ^ b, smooth=False),
    "BitwiseNot": op(lambda _, x: ~x, smooth=False),
    "BitShift": op(shift, smooth=False),
    "IsInf": op(is_inf, smooth=False),
    "IsNaN": op(lambda _, x: x.isnan(), smooth=False),
    "CumSum": op(cumulative_sum, sizes=[1]),
    "CumProd": op(cumulative_product, sizes=[1]),
    "Einsum": op(einsum, learned=range(100)),
    "Where": op(lambda _, c, a, b: torch.where(c, a, b)),
}
