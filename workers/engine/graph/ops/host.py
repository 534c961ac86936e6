"""Arithmetic on sizes and constants, in numpy: used where no input of an op is a tensor."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from workers.engine.graph.ops.layout import cut_of, shape_of, target_shape
from workers.engine.graph.ops.node import Host, Node, as_ints


def constant(node: Node) -> Host:
    (kind, value), *_ = node.attributes.items()
    match kind:
        case "value":
            return numpy_helper.to_array(value)
        case "value_float" | "value_floats":
            return np.array(value, np.float32)
        case _:
            return np.array(value, np.int64)


def cast(node: Node, x: Host) -> Host:
    return x.astype(helper.tensor_dtype_to_np_dtype(node.attributes["to"]))


def gather(node: Node, x: Host, indices: Host) -> Host:
    return np.array(np.take(x, indices, axis=node.get("axis", 0)))


def concat(node: Node, *values: Host) -> Host:
    return np.concatenate(values, node.attributes["axis"])


def squeeze(_: Node, x: Host, axes: Host | None = None) -> Host:
    return np.squeeze(x, None if axes is None else tuple(as_ints(axes)))


def unsqueeze(_: Node, x: Host, axes: Host) -> Host:
    return np.expand_dims(x, tuple(as_ints(axes)))


def slice_(_: Node, x: Host, starts: Host, ends: Host, axes: Host | None = None, steps: Host | None = None) -> Host:
    where = as_ints(axes) if axes is not None else range(len(as_ints(starts)))
    by = as_ints(steps) if steps is not None else [1] * len(as_ints(starts))
    cut = [slice(None)] * x.ndim
    for axis, start, end, step in zip(where, as_ints(starts), as_ints(ends), by, strict=True):
        cut[axis] = cut_of(start, end, step)
    return x[tuple(cut)]


def reshape(node: Node, x: Host, shape: Host) -> Host:
    return x.reshape(target_shape(node, x.shape, as_ints(shape)))


def div(_: Node, a: Host, b: Host) -> Host:
    """Integers are divided as ONNX does: towards zero."""
    exact: Host = a / b
    return exact if a.dtype.kind == "f" else np.trunc(exact).astype(a.dtype)


def reduce_prod(node: Node, x: Host, axes: Host | None = None) -> Host:
    chosen = as_ints(axes) if axes is not None else node.get("axes", None)
    product: Host = np.asarray(np.prod(x, tuple(chosen) if chosen else None, keepdims=bool(node.get("keepdims", 1))))
    return product.astype(x.dtype)


def constant_of_shape(node: Node, shape: Host) -> Host:
    value = numpy_helper.to_array(node.attributes["value"]) if "value" in node.attributes else np.zeros(1, np.float32)
    return np.full(as_ints(shape), value.reshape(()), value.dtype)


def expand(_: Node, x: Host, shape: Host) -> Host:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(as_ints(shape))))


def _folded(function: Callable[[Any, Any], Any]) -> Callable[..., Host]:
    return lambda _, *values: np.asarray(reduce(function, values))


HOST: dict[str, Callable[..., Host]] = {
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Identity": lambda _, x: x,
    "Cast": cast,
    "Shape": shape_of,
    "Size": lambda _, x: np.array(x.size, np.int64),
    "Gather": gather,
    "Concat": concat,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Slice": slice_,
    "Reshape": reshape,
    "Transpose": lambda node, x: np.transpose(x, node.get("perm", None)),
    "Expand": expand,
    "Add": _folded(np.add),
    "Sub": _folded(np.subtract),
    "Mul": _folded(np.multiply),
    "Div": div,
    "Min": _folded(np.minimum),
    "Max": _folded(np.maximum),
    "Equal": _folded(np.equal),
    "Greater": _folded(np.greater),
    "Less": _folded(np.less),
    "Where": lambda _, c, a, b: np.asarray(np.where(c, a, b)),
    "Neg": lambda _, x: -x,
    "Sqrt": lambda _, x: np.sqrt(x),
    "Floor": lambda _, x: np.floor(x),
    "Ceil": lambda _, x: np.ceil(x),
    "Range": lambda _, start, limit, step: np.arange(start.item(), limit.item(), step.item(), dtype=start.dtype),
    "ReduceProd": reduce_prod,
}
