"""The configuration that NVIDIA's Triton Inference Server wants beside a model (its model_configuration.md)."""

import json
from collections.abc import Iterable

from whetstone.contract.models import TensorFacts
from whetstone.contract.targets import Target
from workers.engine.targets.choose import stem_of

TYPES = {
    "float32": "FP32", "float16": "FP16", "bfloat16": "BF16", "float64": "FP64", "bool": "BOOL", "string": "STRING",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
}  # fmt: skip
FILES = {
    Target.ONNXRUNTIME_CPU: "model.onnx",
    Target.OPENVINO_CPU: "model.xml",
    Target.OPENVINO_CPU_BF16: "model.xml",
}
"""What Triton has a backend for."""


def config(target: Target, inputs: tuple[TensorFacts, ...], outputs: tuple[TensorFacts, ...]) -> str | None:
    """`config.pbtxt`; None where Triton has no backend for the target or no type for a tensor. Batches are an axis like
    any other: what is written holds for every model, and Triton gathers none by itself.
    """
    if target not in FILES or any(tensor.dtype not in TYPES for tensor in (*inputs, *outputs)):
        return None
    return (
        f"name: {json.dumps(stem_of(target))}\n"
        f"backend: {json.dumps(target.runtime)}\n"
        "max_batch_size: 0\n"
        f"default_model_filename: {json.dumps(FILES[target])}\n"
        f"{_tensors('input', inputs)}{_tensors('output', outputs)}"
    )


def _tensors(side: str, tensors: Iterable[TensorFacts]) -> str:
    return "".join(
        f"{side} {{ name: {json.dumps(tensor.name)} data_type: TYPE_{TYPES[tensor.dtype]} {_dims(tensor)} }}\n"
        for tensor in tensors
    )


def _dims(tensor: TensorFacts) -> str:
    """Triton has no tensors of rank 0: they are declared as one number and reshaped."""
    if not tensor.shape:
        return "dims: [ 1 ] reshape: { shape: [ ] }"
    return f"dims: [ {', '.join(str(size) if isinstance(size, int) else '-1' for size in tensor.shape)} ]"
