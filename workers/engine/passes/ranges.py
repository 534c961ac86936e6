"""The range of every activation over the calibration samples, by onnxruntime, in constant memory."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.graph.session import Session
from workers.engine.passes.errors import CalibrationFailed

Ranges = dict[str, tuple[Array, Array]]
"""Lowest and highest value by tensor name, as float32 scalars."""

LOWEST, HIGHEST = "whetstone_lowest/", "whetstone_highest/"


def _float_tensors(model: ModelProto) -> list[str]:
    """Computed float32 tensors and inputs, as far as shape inference knows their type."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    return [
        name
        for name, value in values.items()
        if name not in stored and value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]


def _with_extremes(model: ModelProto, names: list[str]) -> ModelProto:
    """The model with the minimum and maximum of each tensor as its only outputs: two numbers, not a whole tensor."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    for name in names:
        for op, prefix in (("ReduceMin", LOWEST), ("ReduceMax", HIGHEST)):
            made = f"{prefix}{name}"
            watched.graph.node.append(helper.make_node(op, [name], [made], name=made, keepdims=0))
            watched.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, []))
    return watched


def _merge(found: Ranges, made: Mapping[str, Array]) -> None:
    for key, low in made.items():
        if not key.startswith(LOWEST):
            continue
        name = key.removeprefix(LOWEST)
        high = made[f"{HIGHEST}{name}"]
        if not (np.isfinite(low) and np.isfinite(high)):
            raise CalibrationFailed(f"'{name}' becomes NaN or infinite on a calibration sample.", layer=name)
        before = found.get(name, (low, high))
        found[name] = (np.minimum(before[0], low), np.maximum(before[1], high))


def find_ranges(model: ModelProto, batches: Iterator[dict[str, Array]], scratch: Path, threads: int) -> Ranges:
    """MinMax ranges of all float tensors of a model whose shapes are inferred.

    One session sees all batches and returns two numbers per tensor, so neither the number of samples nor the size
    of activations matters. Raises CalibrationFailed.
    """
    found: Ranges = {}
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "watched.onnx"
        Graph(_with_extremes(model, _float_tensors(model))).save(path)
        try:
            session = Session(path, threads=threads)
            for batch in batches:
                _merge(found, session.run(batch))
        except CalibrationFailed:
            raise
        except Exception as error:  # whatever the runtime says about a graph or a sample
            raise CalibrationFailed(f"A calibration sample could not be run: {reason_of(error)}") from error
    return found


def with_shapes(graph: Graph) -> ModelProto:
    """The model with the types and shapes of its tensors written down, as far as they follow."""
    return onnx.shape_inference.infer_shapes(graph.model, data_prop=True)
