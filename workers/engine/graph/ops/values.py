"""What flows between ops, and how it turns from numpy to torch and back."""

from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Host = NDArray[Any]
"""A value kept in numpy: sizes, axes, constants that are not learned, and types that torch cannot compute with."""
Value = Tensor | Host | list[Any] | None
"""Also a sequence, or an absent optional."""

_CARRIED: dict[Any, list[Any]] = {
    np.int32: [np.uint16],
    np.int64: [np.uint32, np.uint64],
    np.int8: [ml_dtypes.int4, ml_dtypes.int2],
    np.uint8: [ml_dtypes.uint4, ml_dtypes.uint2],
    np.float32: [
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e5m2fnuz,
        ml_dtypes.float8_e8m0fnu,
        ml_dtypes.float4_e2m1fn,
    ],
}
CARRIERS: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(kind): np.dtype(carrier) for carrier, kinds in _CARRIED.items() for kind in kinds
}
"""Types that torch cannot compute with, and the ones that hold all their values (uint64: those below 2**63)."""

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
TORCH_TYPES: dict[np.dtype[Any], torch.dtype] = {
    np.dtype(kind): torch.from_numpy(np.empty(0, kind)).dtype
    for kind in (np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_)
} | {BFLOAT16: torch.bfloat16, np.dtype(np.complex64): torch.complex64, np.dtype(np.complex128): torch.complex128}


def as_ints(value: Value) -> list[int]:
    """A 0- or 1-dimensional integer value as Python ints."""
    dense = value if isinstance(value, Tensor) else np.asarray(value)  # numpy gives bare numbers for some arrays
    return [int(v) for v in dense.reshape(-1).tolist()]


def as_tensor(value: Value, device: torch.device | None = None) -> Tensor:
    """A dense value in torch; types that torch cannot compute with arrive in a wider one."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    array = array.astype(CARRIERS.get(array.dtype, array.dtype), copy=False)
    dense = np.ascontiguousarray(array).reshape(array.shape)
    if not dense.flags.writeable:  # torch warns of memory that it may not write
        dense = dense.copy()
    if dense.dtype == BFLOAT16:
        tensor = torch.from_numpy(dense.view(np.int16)).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(dense)
    return tensor if device is None else tensor.to(device)


def as_host(value: Value) -> Host:
    """A dense value in numpy."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    if value.dtype == torch.bfloat16:
        return value.contiguous().view(torch.int16).numpy().view(BFLOAT16)
    array: Host = value.numpy()
    return array


def natural(array: Host) -> Value:
    """In torch if torch can compute with the type, else as it is."""
    return as_tensor(array) if array.dtype in TORCH_TYPES else array
