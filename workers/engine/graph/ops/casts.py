"""Changes of type. Types that torch cannot compute with stay in numpy."""

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from workers.engine.graph.ops.node import Node, op
from workers.engine.graph.ops.values import CARRIERS, TORCH_TYPES, Host, Value, as_host, natural

SATURATING = {dtype for dtype, carrier in CARRIERS.items() if carrier == np.float32}
"""The 8- and 4-bit floats: a value beyond their range becomes the largest one, unless `saturate` is 0."""
BITS = {
    np.dtype(ml_dtypes.int4): 4,
    np.dtype(ml_dtypes.uint4): 4,
    np.dtype(ml_dtypes.int2): 2,
    np.dtype(ml_dtypes.uint2): 2,
}


def text_of(x: Host) -> NDArray[np.object_]:
    return np.array([f"{v:.8g}" if x.dtype.kind == "f" else str(v) for v in x.reshape(-1)], object).reshape(x.shape)


def _narrowed(x: Host, dtype: np.dtype[Any]) -> Host:
    """To 2 or 4 bits: the lowest bits are kept, as conversions between integers do."""
    bits = BITS[dtype]
    whole = np.trunc(x.astype(np.float64)).astype(np.int64) & (2**bits - 1)
    if dtype.name.startswith("int"):
        whole = np.where(whole >= 2 ** (bits - 1), whole - 2**bits, whole)
    return np.asarray(whole.astype(np.int8).astype(dtype))


def _scale_exponents(x: Host, node: Node) -> Host:
    return numpy_helper.to_float8e8m0(
        x.astype(np.float32), saturate=bool(node.get("saturate", 1)), round_mode=node.get("round_mode", "up")
    )


def cast_host(node: Node, x: Host, to: int) -> Host:
    """A Cast by numpy's rules, with the ONNX rules of saturation where they differ."""
    if to == TensorProto.STRING:
        return text_of(x)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(to))
    if x.dtype.kind == "O":
        x = x.astype(str).astype(np.float64) if dtype.kind not in "iu" else x.astype(str).astype(np.int64)
    if to == TensorProto.FLOAT8E8M0:
        return _scale_exponents(x, node)
    if dtype in SATURATING and node.get("saturate", 1):
        return numpy_helper.saturate_cast(x, dtype)
    with np.errstate(all="ignore"):
        return _narrowed(x, dtype) if dtype in BITS else x.astype(dtype)


def _cast(node: Node, x: Value, to: int) -> Value:
    if isinstance(x, Tensor) and to != TensorProto.STRING:
        dtype = TORCH_TYPES.get(np.dtype(helper.tensor_dtype_to_np_dtype(to)))
        if dtype is not None:
            return x.to(dtype)
    return natural(cast_host(node, as_host(x), to))


def cast(node: Node, x: Value) -> Value:
    return _cast(node, x, node.attributes["to"])


def cast_like(node: Node, x: Value, like: Value) -> Value:
    if isinstance(x, Tensor) and isinstance(like, Tensor):
        return x.to(like.dtype)
    dtype = as_host(like).dtype
    to = TensorProto.STRING if dtype.kind == "O" else helper.np_dtype_to_tensor_dtype(dtype)
    return _cast(node, x, to)


def bit_cast(node: Node, x: Value) -> Value:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(node.attributes["to"]))
    array = np.ascontiguousarray(as_host(x)).reshape(as_host(x).shape)
    return natural(array.view(dtype))


CASTS = {
    "Cast": op(cast, raw=None, moves=True),
    "CastLike": op(cast_like, raw=None, moves=True),
    "BitCast": op(bit_cast, raw=None, smooth=False),
}
