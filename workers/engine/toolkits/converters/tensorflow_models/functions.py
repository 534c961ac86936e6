"""A function of TensorFlow with a signature: what Keras networks and SavedModels both come to."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from workers.engine.toolkits.converters.model import FIXED, OPSET, Model, Refused, Tensor


def of_function(
    source: str, instead: str, call: Callable[..., dict[str, Any]], specs: list[Any], names: list[str]
) -> Model:
    """`call` takes tensors as `specs` says and gives them by `names`, which ONNX gets too."""
    for spec in specs:
        _check(spec)
    function = tf.function(call, autograph=False)

    def run(given: list[Any]) -> list[Any]:
        made = function(*(tf.constant(value) for value in given))
        return [made[name].numpy() for name in names]

    def save(path: str) -> None:
        proto, _ = tf2onnx.convert.from_function(function, specs, opset=OPSET)
        made = {output.name: output for output in proto.graph.output}  # in the order of the alphabet
        del proto.graph.output[:]
        proto.graph.output.extend(made[name] for name in names)
        onnx.save(proto, path)

    inputs = [Tensor(spec.name, tuple(spec.shape.as_list()), np.dtype(spec.dtype.as_numpy_dtype)) for spec in specs]
    return Model(source, instead, inputs, run, save)


def _check(spec: Any) -> None:
    if spec.dtype == tf.string:
        raise Refused(
            "unsupported_format", f"The input '{spec.name}' is text.", "Turn text into numbers before the model."
        )
    if spec.shape.rank is None:
        raise Refused("unsupported_format", f"The input '{spec.name}' has any number of axes.", FIXED)
