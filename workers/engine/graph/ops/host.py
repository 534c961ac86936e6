"""Arithmetic on sizes and constants, in numpy: used where no input of an op is a tensor."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from onnx import SparseTensorProto, numpy_helper

from workers.engine.graph.ops.casts import cast_host
from workers.engine.graph.ops.layout import cut_of, shape_of, target_shape
from workers.engine.graph.ops.node import Host, Node, as_ints


def dense(sparse: SparseTensorProto) -> Host:
    """A sparse tensor written out; its indices are flat, or one row of coordinates per value."""
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    made = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        made.reshape(-1)[indices] = values
    else:
        made[tuple(indices.T)] = values
    return made


def constant(node: Node) -> Host:
    (kind, value), *_ = node.attributes.items()
    match kind:
        case "value":
            return numpy_helper.to_array(value)
        case "value_float" | "value_floats":
            return np.array(value, np.float32)
        case "value_string" | "value_strings":
            return np.array(value, object)
        case "sparse_value":
            return dense(value)
        case _:
            return np.array(value, np.int64)


def gather(node: Node, x: Host, indices: Host) -> Host:
    return np.array(np.take(x, indices, axis=node.get("axis", 0)))


def concat(node: Node, *values: Host) -> Host:
    return np.concatenate(values, node.attributes["axis"])


def squeeze(node: Node, x: Host, axes: Host | None = None) -> Host:
    chosen = node.get("axes", None) if axes is None else as_ints(axes)
    return np.squeeze(x, None if chosen is None else tuple(chosen))


def unsqueeze(node: Node, x: Host, axes: Host | None = None) -> Host:
    return np.expand_dims(x, tuple(node.attributes["axes"] if axes is None else as_ints(axes)))


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
    if a.dtype.kind not in "iu":
        return np.asarray(a / b)
    quotient = a // b
    return quotient if a.dtype.kind == "u" else quotient + ((a % b != 0) & ((a < 0) != (b < 0)))


def mod(node: Node, a: Host, b: Host) -> Host:
    return np.asarray(np.fmod(a, b) if node.get("fmod", 0) else np.mod(a, b))


def power(_: Node, a: Host, b: Host) -> Host:
    return np.asarray(np.power(a, b)).astype(a.dtype)


def shift(node: Node, x: Host, bits: Host) -> Host:
    return np.asarray(x << bits if node.attributes["direction"] == "LEFT" else x >> bits)


def _reduced(run: Callable[..., Any]) -> Callable[..., Host]:
    def reduce_(node: Node, x: Host, axes: Host | None = None) -> Host:
        chosen = as_ints(axes) if axes is not None else node.get("axes", None)
        if not chosen and node.get("noop_with_empty_axes", 0):
            return x
        done = np.asarray(run(x, axis=tuple(chosen) if chosen else None, keepdims=bool(node.get("keepdims", 1))))
        return done.astype(x.dtype)

    return reduce_


def constant_of_shape(node: Node, shape: Host) -> Host:
    value = numpy_helper.to_array(node.attributes["value"]) if "value" in node.attributes else np.zeros(1, np.float32)
    return np.full(as_ints(shape), value.reshape(()), value.dtype)


def flatten(node: Node, x: Host) -> Host:
    axis = node.get("axis", 1)
    return x.reshape(int(np.prod(x.shape[: axis + x.ndim if axis < 0 else axis])), -1)


def range_(_: Node, start: Host, limit: Host, step: Host) -> Host:
    """Computed in double, or as integers, whatever the type."""
    kind = np.int64 if start.dtype.kind in "iu" else np.float64
    return np.arange(*(kind(v.item()) for v in (start, limit, step))).astype(start.dtype)


def expand(_: Node, x: Host, shape: Host) -> Host:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(as_ints(shape))))


def _folded(function: Callable[[Any, Any], Any]) -> Callable[..., Host]:
    return lambda _, *values: np.asarray(reduce(function, values))


HOST: dict[str, Callable[..., Host]] = {
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Identity": lambda _, x: x,
    "Cast": lambda node, x: cast_host(node, x, node.attributes["to"]),
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
    "Range": range_,
    "Mod": mod,
    "Pow": power,
    "BitShift": shift,
    "BitwiseAnd": _folded(np.bitwise_and),
    "BitwiseOr": _folded(np.bitwise_or),
    "BitwiseXor": _folded(np.bitwise_xor),
    "BitwiseNot": lambda _, x: ~x,
    "And": _folded(np.logical_and),
    "Or": _folded(np.logical_or),
    "Not": lambda _, x: ~x,
    "GreaterOrEqual": _folded(np.greater_equal),
    "LessOrEqual": _folded(np.less_equal),
    "Abs": lambda _, x: np.abs(x),
    "Flatten": flatten,
    "Tile": lambda _, x, repeats: np.tile(x, as_ints(repeats)),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
}
