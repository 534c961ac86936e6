"""TFLite models, float or quantized."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from workers.engine.toolkits.converters.model import OPSET, Model, Refused, Tensor, first_line

INSTEAD = "Convert it where it was made: python -m tf2onnx.convert --tflite FILE --opset 18 --output model.onnx."


def read_tflite(path: Path) -> Model:
    """Raises Refused."""
    try:
        interpreter = tf.lite.Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        if "custom op" in str(error):
            why = f"The TFLite model has an operator of its own: {first_line(error)}"
            raise Refused("unsupported_op", why, INSTEAD) from error
        raise Refused("invalid_model", f"The TFLite file cannot be loaded: {first_line(error)}", INSTEAD) from error
    given, made = interpreter.get_input_details(), interpreter.get_output_details()
    names = _names(interpreter, [*given, *made])
    inputs = [Tensor(names[each["name"]], _shape(each), np.dtype(each["dtype"])) for each in given]

    def run(values: list[Any]) -> list[Any]:
        for detail, value in zip(given, values, strict=True):
            interpreter.resize_tensor_input(detail["index"], value.shape)
        interpreter.allocate_tensors()
        for detail, value in zip(given, values, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]).copy() for detail in made]

    def save(target: str) -> None:
        proto, _ = tf2onnx.convert.from_tflite(str(path), opset=OPSET)
        _rename(proto.graph, names)
        onnx.save(proto, target)

    return Model(f"TFLite model (TensorFlow {tf.__version__})", INSTEAD, inputs, run, save)


def _shape(detail: dict[str, Any]) -> tuple[int | None, ...]:
    return tuple(None if size < 0 else int(size) for size in detail["shape_signature"])


def _names(interpreter: Any, details: list[dict[str, Any]]) -> dict[str, str]:
    """What the tensors are called by the model's signature, if it has one, instead of `serving_default_x:0`."""
    called: dict[str, str] = {}
    for key in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(key)
        for told in (runner.get_input_details(), runner.get_output_details()):
            called |= {detail["name"]: name for name, detail in told.items()}
    plain = {each["name"]: called.get(each["name"], each["name"].removesuffix(":0")) for each in details}
    return plain if len(set(plain.values())) == len(plain) else {each["name"]: each["name"] for each in details}


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Also within the bodies of loops and branches."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)
