"""SavedModels of TensorFlow: their operators are looked through before anything is loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from workers.engine.toolkits.converters.model import Model, Refused, first_line
from workers.engine.toolkits.converters.tensorflow_models.functions import of_function

INSTEAD = "Convert it where it was made: python -m tf2onnx.convert --saved-model FOLDER --opset 18 --output model.onnx."
SIGNED = "Save it with one: model.export(folder) in Keras, or tf.saved_model.save(model, folder, signatures=function)."
SIGNATURES = ("serving_default", "serve")

REACHES_OUT = frozenset(
    {
        "ReadFile",
        "WriteFile",
        "MatchingFiles",
        "PyFunc",
        "PyFuncStateless",
        "EagerPyFunc",
        "LoadDataset",
        "SaveDataset",
        "TFRecordDataset",
        "TextLineDataset",
        "FixedLengthRecordDataset",
        "TFRecordReader",
        "TFRecordReaderV2",
        "TextLineReader",
        "TextLineReaderV2",
        "WholeFileReader",
        "WholeFileReaderV2",
        "FixedLengthRecordReader",
        "FixedLengthRecordReaderV2",
        "LMDBReader",
        "Save",
        "SaveSlices",
        "Restore",
        "RestoreSlice",
        "ImmutableConst",
        "PrintV2",
        "DebugIdentity",
        "DebugIdentityV2",
        "DebugIdentityV3",
        "RegisterDataset",
    }
)
"""Operators that touch files or run code. Those that save and restore weights are in every SavedModel, and are run by
nothing but its loader."""


def read_saved_model(folder: Path) -> Model:
    """The function that a SavedModel serves. Raises Refused."""
    check_operators(folder)
    try:
        model = tf.saved_model.load(str(folder))
        structured = dict(_signature(model.signatures).structured_input_signature[1])
    except Refused:
        raise
    except Exception as error:
        raise Refused("invalid_model", f"The SavedModel cannot be loaded: {first_line(error)}", INSTEAD) from error
    specs = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in sorted(structured.items())]
    names = sorted(_signature(model.signatures).structured_outputs)

    def call(*given: Any) -> dict[str, Any]:
        by_name = {spec.name: value for spec, value in zip(specs, given, strict=True)}
        made = _signature(model.signatures)(**by_name)  # of the model, or its variables would be gone by now
        return {name: made[name] for name in names}

    return of_function(f"TensorFlow {tf.__version__} SavedModel", INSTEAD, call, specs, names)


def check_operators(folder: Path) -> None:
    """Raises Refused for operators that TensorFlow does not have, and for those that reach out of the graph."""
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise Refused("invalid_model", "saved_model.pb is damaged.", INSTEAD) from error
    for meta in saved.meta_graphs:
        own = {function.signature.name for function in meta.graph_def.library.function}
        for node in _nodes(meta.graph_def):
            if node.op in REACHES_OUT:
                why = f"'{node.name}' is a {node.op}, which reaches out of the model."
                raise Refused("unsafe_file", why, "Leave it out of what the SavedModel serves, and save it again.")
            if node.op not in own and op_def_registry.get(node.op) is None:
                why = f"'{node.name}' is a {node.op}, an operator that TensorFlow does not have."
                raise Refused("unsupported_op", why, "Build it of TensorFlow's own operators, and save it again.")


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _signature(signatures: Any) -> Any:
    """The function that is served. Raises Refused where that cannot be told."""
    known = [name for name in SIGNATURES if name in signatures]
    if not known and len(signatures) != 1:
        found = ", ".join(sorted(signatures)) or "none"
        raise Refused("unsupported_format", f"No signature is called 'serving_default'; there is {found}.", SIGNED)
    return signatures[known[0] if known else next(iter(signatures))]
