"""The variance of centred values in the place of a difference of two means.

E[x²] - E[x]² takes one pass over the values, and is what flax writes; where both are large, few of the bits are left
(Chan, Golub & LeVeque, The American Statistician 37, 1983), of bfloat16's eight none. Centred first, the same
normalization keeps them, and runtimes know it as one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isclose

import numpy as np
from onnx import NodeProto

from workers.engine.graph.graph import name_of
from workers.engine.passes.substituting.replacement import Maker, Replacement
from workers.engine.passes.substituting.view import View, attributes

SHAPING = ("Cast", "Expand", "Identity", "Reshape", "Squeeze", "Unsqueeze")
AXES_ARE_INPUTS = {"ReduceSum": 13, "ReduceMean": 18}
CLOSE = 1e-5


@dataclass(frozen=True)
class _Mean:
    """The mean of a tensor along one axis."""

    of: str
    axis: int


@dataclass(frozen=True)
class _Normalized:
    """(x - mean) / √(variance + ε) · scale, as factors of a product."""

    mean: _Mean
    epsilon: float
    scale: str | None


def find(view: View) -> Iterator[Replacement]:
    """Normalizations along one axis of known length, with a scale and a shift or without."""
    done: set[str] = set()
    for node in view.nodes("Add"):
        for shift, product in (node.input, reversed(node.input)):
            found = _normalized(view, product) if view.floats(shift) is not None else None
            if found is not None:
                done.update(_products(view, product))
                yield _centred(view, node, found, shift)
    for node in reversed(view.nodes("Mul")):
        found = _normalized(view, node.output[0]) if node.output[0] not in done else None
        if found is not None:
            done.update(_products(view, node.output[0]))
            yield _centred(view, node, found, None)


def _products(view: View, tensor: str) -> list[str]:
    """A product, and those that are its factors."""
    node = view.maker(tensor, "Mul")
    return [tensor, *(name for each in node.input for name in _products(view, each))] if node is not None else []


def _factors(view: View, tensor: str) -> list[str]:
    """What is multiplied: a product of products is one."""
    node = view.maker(tensor, "Mul")
    return [factor for each in node.input for factor in _factors(view, each)] if node is not None else [tensor]


def _normalized(view: View, tensor: str) -> _Normalized | None:
    factors = _factors(view, tensor)
    centred = [(name, node) for name in factors if (node := view.maker(name, "Sub")) is not None]
    roots = [(name, found) for name in factors if (found := _root(view, name)) is not None]
    if len(centred) != 1 or len(roots) != 1:
        return None
    (name, sub), (root, (mean, epsilon)) = centred[0], roots[0]
    rest = [factor for factor in factors if factor not in (name, root)]
    scaled = all(view.floats(factor) is not None for factor in rest) and len(rest) <= 1
    if not scaled or sub.input[0] != mean.of or _mean(view, sub.input[1]) != mean:
        return None
    return _Normalized(mean, epsilon, rest[0] if rest else None)


def _root(view: View, tensor: str) -> tuple[_Mean, float] | None:
    """Of 1 / √(E[x²] - E[x]² + ε): the mean, and ε."""
    inverse = view.maker(_bare(view, tensor), "Reciprocal")
    root = view.maker(_bare(view, inverse.input[0]), "Sqrt") if inverse is not None else None
    plus = view.maker(_bare(view, root.input[0]), "Add") if root is not None else None
    for epsilon, other in (plus.input, reversed(plus.input)) if plus is not None else ():
        number, mean = _number(view, epsilon), _variance(view, other)
        if number is not None and mean is not None:
            return mean, number
    return None


def _variance(view: View, tensor: str) -> _Mean | None:
    """The mean of x, if this is E[x²] - E[x]², kept from falling below zero or not."""
    name = _bare(view, tensor)
    floor = view.maker(name, "Max")
    for zero, other in (floor.input, reversed(floor.input)) if floor is not None and len(floor.input) == 2 else ():  # noqa: PLR2004
        name = _bare(view, other) if _number(view, zero) == 0 else name
    difference = view.maker(name, "Sub")
    if difference is None:
        return None
    square, product = (_bare(view, each) for each in difference.input)
    squared = _mean(view, square)
    mean = _squared(view, product)
    within = view.maker(squared.of, "Mul") if squared is not None else None
    if squared is None or mean is None or within is None or within.input[0] != within.input[1]:
        return None
    first, second = _mean(view, mean), _Mean(within.input[0], squared.axis)
    return first if first == second else None


def _squared(view: View, tensor: str) -> str | None:
    """What is multiplied by itself."""
    product = view.maker(tensor, "Mul")
    return product.input[0] if product is not None and product.input[0] == product.input[1] else None


def _mean(view: View, tensor: str) -> _Mean | None:
    """A sum over one axis, divided by its length, or a mean; whatever shape it was then given."""
    name = _bare(view, tensor)
    reduced = view.maker(name, "ReduceMean")
    product = view.maker(name, "Mul")
    factor: float | None = None
    for one, other in (product.input, reversed(product.input)) if product is not None else ():
        if (number := _number(view, one)) is not None:
            factor, reduced = number, view.maker(_bare(view, other), "ReduceSum")
    if reduced is None:
        return None
    axes, shape = _axes(view, reduced), view.shapes.get(reduced.input[0])
    if axes is None or len(axes) != 1 or shape is None:
        return None
    length = shape[axes[0]]
    right = length is not None and (factor is None or isclose(factor * length, 1, rel_tol=CLOSE))
    return _Mean(reduced.input[0], axes[0] % len(shape)) if right else None


def _axes(view: View, node: NodeProto) -> list[int] | None:
    if view.graph.opset < AXES_ARE_INPUTS[node.op_type]:
        return attributes(node).get("axes")
    values = view.constant(node.input[1]) if len(node.input) > 1 else None
    return None if values is None else [int(axis) for axis in values.reshape(-1)]


def _bare(view: View, tensor: str) -> str:
    """What a tensor was before it was given another shape."""
    while (node := view.maker(tensor, *SHAPING)) is not None:
        tensor = node.input[0]
    return tensor


def _number(view: View, tensor: str) -> float | None:
    values = view.floats(tensor)
    return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None


def _centred(view: View, node: NodeProto, found: _Normalized, shift: str | None) -> Replacement:
    """Along the last axis, where runtimes know it, and as exporters write it: what is normalized is turned for that."""
    made, x, axis = Maker(name_of(node)), found.mean.of, found.mean.axis
    rank = len(view.shapes[x])
    order = [rank - 1 if place == axis else axis if place == rank - 1 else place for place in range(rank)]
    turned = made.add("Transpose", x, perm=order) if axis != rank - 1 else x
    centred = made.add("Sub", turned, _made_mean(view, made, turned))
    variance = _made_mean(view, made, made.add("Pow", centred, made.constant(np.array(2, np.float32))))
    root = made.add("Sqrt", made.add("Add", variance, made.constant(np.array(found.epsilon, np.float32))))
    value = made.add("Div", centred, root)
    for op, name in (("Mul", found.scale), ("Add", shift)):
        if name is not None:
            factors = view.graph.weight(name)
            wide = factors.reshape((1,) * (rank - factors.ndim) + factors.shape).transpose(order)
            value = made.add(op, value, made.constant(wide.reshape(-1) if wide.size == wide.shape[-1] else wide))
    if turned == x:
        made.add("Identity", value, output=node.output[0])
    else:
        made.add("Transpose", value, output=node.output[0], perm=order)
    return made.of((node,), f"a normalization along axis {axis} that centres first")


def _made_mean(view: View, made: Maker, tensor: str) -> str:
    if view.graph.opset < AXES_ARE_INPUTS["ReduceMean"]:
        return made.add("ReduceMean", tensor, axes=[-1], keepdims=1)
    return made.add("ReduceMean", tensor, made.ints(-1), keepdims=1)
