"""Formats that are recognized and not read, each with the commands that make a file which is."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from workers.engine.errors import EngineError
from workers.engine.importers import instead
from workers.engine.importers.errors import UnsafeFile, UnsupportedFormat


class Signature(NamedTuple):
    """Bytes at an offset that tell a format."""

    offset: int
    magic: bytes
    name: str
    hint: str | None = None


class Ending(NamedTuple):
    """How names of a format's files end."""

    ends: tuple[str, ...]
    name: str
    hint: str


SIGNATURES = (
    Signature(4, b"ORTM", "onnxruntime's ORT format", instead.ITS_SOURCE),
    Signature(4, b"ET12", "ExecuTorch's format", instead.FROM_TORCH),
    Signature(8, b'{"', "safetensors, weights without the network", instead.FROM_SAFETENSORS),
    Signature(0, b"GGUF", "GGUF", instead.FROM_TRANSFORMERS),
    Signature(0, b"ftrt", "a TensorRT engine", instead.ITS_SOURCE),
    Signature(0, b"7767517\n", "ncnn's format", instead.ITS_SOURCE),
    Signature(0, b"\x12\x01\0\0\0\0\0\0", "MXNet parameters", instead.FROM_MXNET),
    Signature(0, b"CBM1", "a CatBoost model", instead.FROM_CATBOOST),
    Signature(0, b"\x93NUMPY", "a NumPy array"),
    Signature(0, b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    Signature(0, b"Rar!", "RAR"),
    Signature(0, b"<?xml", "XML (OpenVINO IR?)", instead.ITS_SOURCE),
    *(
        Signature(0, bytes((0x78, level)), "zlib (a joblib file?)", instead.FROM_SKLEARN)
        for level in (0x01, 0x5E, 0x9C, 0xDA)
    ),
)

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", "pytorch_model.bin")
ENDINGS = (
    Ending((".pdmodel", ".pdiparams", ".pdparams"), "of PaddlePaddle", instead.FROM_PADDLE),
    Ending(("-symbol.json", ".params"), "of MXNet", instead.FROM_MXNET),
    Ending((".mlmodel", "com.apple.CoreML/weights/weight.bin"), "of Core ML", instead.FROM_COREML),
    Ending((".caffemodel", ".prototxt"), "of Caffe", instead.FROM_CAFFE),
    Ending((".weights", ".cfg"), "of Darknet", instead.FROM_TORCH),
    Ending((".msgpack",), "of Flax", instead.FROM_JAX),
    Ending((".meta", ".index"), "of a TensorFlow checkpoint", instead.FROM_CHECKPOINT),
    Ending((".pb", ".pbtxt"), "of a frozen TensorFlow graph", instead.FROM_GRAPH),
    Ending((".pte",), "of ExecuTorch", instead.FROM_TORCH),
    Ending(PICKLES, "of PyTorch or scikit-learn", f"{instead.FROM_TORCH} {instead.FROM_SKLEARN}"),
)
JSON = (
    (b'"arg_nodes"', "an MXNet network", instead.FROM_MXNET),
    (b'"format": "layers-model"', "a TensorFlow.js model", instead.FROM_TENSORFLOW_JS),
    (b'"modelTopology"', "a TensorFlow.js model", instead.FROM_TENSORFLOW_JS),
)
JSON_LOOKED_AT = 2**20


def refuse_signature(path: Path, head: bytes) -> None:
    """Raises UnsupportedFormat where the first bytes are known."""
    for mark in SIGNATURES:
        if head.startswith(mark.magic, mark.offset):
            raise UnsupportedFormat(f"The file is {mark.name}, not ONNX.", hint=mark.hint)
    if head.lstrip().startswith(b"{"):
        _refuse_json(path)


def _refuse_json(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(JSON_LOOKED_AT)
    for words, name, hint in JSON:
        if words in start:
            raise UnsupportedFormat(f"The file is {name}, not ONNX.", hint=hint)
    raise UnsupportedFormat("The file is JSON, not ONNX.")


def refuse_pickle() -> None:
    raise UnsafeFile(
        "The file is a Python pickle (a PyTorch or scikit-learn file); opening it would run code in it.",
        hint=f"{instead.FROM_SKLEARN} {instead.FROM_TORCH} {instead.FROM_TRANSFORMERS}",
    )


def refuse_members(names: Iterable[str]) -> None:
    """Raises where an archive holds files of a known kind: UnsafeFile for pickles, else UnsupportedFormat."""
    kept = list(names)
    weights = next((name for name in kept if name.endswith("pytorch_model.bin")), None)
    if weights is not None:
        raise UnsafeFile(
            f"'{weights}' is a Python pickle, and no .safetensors file lies beside it; opening it would run its code.",
            hint=f"{instead.FROM_TRANSFORMERS} {instead.FROM_TORCH}",
        )
    if any(name.endswith(PICKLES) for name in kept):
        refuse_pickle()
    for name in kept:
        ending = ending_of(name)
        if ending is not None:
            raise UnsupportedFormat(f"The archive holds '{name}', a file {ending.name}.", hint=ending.hint)


def ending_of(name: str) -> Ending | None:
    return next((ending for ending in ENDINGS if name.endswith(ending.ends)), None)


def explained(path: Path, error: EngineError) -> EngineError:
    """The better refusal of a file that could not be read as ONNX, by its name: formats that have no mark."""
    ending = ending_of(path.name)
    if ending is None:
        return error
    why = f"The file is not ONNX; by its name it is one {ending.name}."
    return UnsupportedFormat(why, hint=ending.hint)
