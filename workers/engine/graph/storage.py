"""Writing a model to disk, whatever its size."""

from math import prod
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import load_external_data_for_model

from workers.engine.graph.tensors import all_tensors

ONE_FILE_LIMIT = 2**31 - 2**24
"""Protobuf cannot hold 2 GiB; what is left is room for nodes and names."""


def elements(tensor: TensorProto) -> int:
    """How many numbers a tensor holds."""
    return prod(tensor.dims)


def stored_bytes(tensor: TensorProto) -> int:
    """The size of a tensor's values in bytes, from its shape and type."""
    return elements(tensor) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def save_model(model: ModelProto, path: Path, limit: int = ONE_FILE_LIMIT) -> tuple[Path, ...]:
    """Write `path`, and beside it `<name>.data` when the weights exceed `limit` bytes. Returns the files written."""
    if sum(map(stored_bytes, all_tensors(model))) <= limit:
        path.write_bytes(model.SerializeToString())
        return (path,)
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)  # onnx appends to a file it finds
    onnx.save_model(model, path, save_as_external_data=True, location=data.name, convert_attribute=True)
    load_external_data_for_model(model, str(path.parent))  # saving has moved the weights out of memory
    return (path, data)
