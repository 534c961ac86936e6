"""What a file is, told from its bytes; its name proves nothing."""

import re
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from workers.engine.importers.archive import names_in_tar
from workers.engine.importers.errors import InvalidModel, UnsafeFile, UnsupportedFormat

HEAD = 512
PICKLE_PROTOCOLS = range(2, 6)
TEXT_PICKLE = re.compile(rb"\(*(c[\w.]+\n[\w.]+\n|\(?[ld]p?\d*\n)")
"""How pickles of protocols 0 and 1 begin: a global to import, or an empty container."""

FROM_TORCH = "Export it where it was trained: torch.onnx.export(model, (example,), 'model.onnx', external_data=False)."
FROM_KERAS = "Export it in Keras: model.export('model.onnx', format='onnx')."
FROM_TFLITE = "Convert it: python -m tf2onnx.convert --tflite model.tflite --opset 18 --output model.onnx."
FROM_SAVED_MODEL = "Convert it: python -m tf2onnx.convert --saved-model FOLDER --opset 18 --output model.onnx."


FROM_SKLEARN = "scikit-learn: skops.io.dump(model, 'model.skops'), and upload that file."


class Format(StrEnum):
    """Formats that are read."""

    ONNX = "onnx"
    ONNX_ZIP = "onnx-zip"
    SKOPS = "skops"
    XGBOOST = "xgboost"
    LIGHTGBM = "lightgbm"
    KERAS = "keras"
    HDF5 = "hdf5"
    SAVED_MODEL = "saved-model"
    TFLITE = "tflite"


READ = (
    (0, b'{"learner"', Format.XGBOOST),
    (0, b"{L", Format.XGBOOST),
    (0, b"tree\nversion=", Format.LIGHTGBM),
    (0, b"\x89HDF\r\n\x1a\n", Format.HDF5),
    (4, b"TFL3", Format.TFLITE),
)
"""Bytes at an offset that tell a format which is imported."""

TARS = ((0, b"\x1f\x8b"), (257, b"ustar"))


class Signature(NamedTuple):
    """Bytes at an offset that tell a format which is not read."""

    offset: int
    magic: bytes
    name: str
    hint: str | None = None


FOREIGN = (
    Signature(4, b"ORTM", "onnxruntime's ORT format", "Upload the ONNX file that it was made from."),
    Signature(8, b'{"', "safetensors, weights without the network", FROM_TORCH),
    Signature(0, b"GGUF", "GGUF", FROM_TORCH),
    Signature(0, b"\x93NUMPY", "a NumPy array"),
    Signature(0, b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    Signature(0, b"Rar!", "RAR"),
    Signature(0, b"<?xml", "XML (OpenVINO IR?)", "Upload the ONNX file that it was made from."),
    *(Signature(0, bytes((0x78, level)), "zlib (a joblib file?)", FROM_SKLEARN) for level in (0x01, 0x5E, 0x9C, 0xDA)),
    Signature(0, b"{", "JSON"),
)


def _refuse_pickle() -> None:
    raise UnsafeFile(
        "The file is a Python pickle (a PyTorch or scikit-learn file); opening it would run code in it.",
        hint=f"{FROM_SKLEARN} PyTorch: {FROM_TORCH}",
    )


def _looks_pickled(head: bytes) -> bool:
    binary = head[:1] == b"\x80" and len(head) > 1 and head[1] in PICKLE_PROTOCOLS
    return binary or TEXT_PICKLE.match(head) is not None


def _names_in_zip(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InvalidModel(f"The zip archive cannot be read: {error}.") from error


def _zip_format(path: Path) -> Format:
    names = _names_in_zip(path)
    ends = {name.rsplit("/", 1)[-1] for name in names}
    if ends & {"data.pkl", "constants.pkl"} or any(name.endswith((".pkl", ".pickle")) for name in names):
        _refuse_pickle()
    if any(name.endswith(".onnx") for name in names):
        return Format.ONNX_ZIP
    if "schema.json" in names:
        return Format.SKOPS
    if "model.weights.h5" in ends:
        return Format.KERAS
    if "saved_model.pb" in ends:
        return Format.SAVED_MODEL
    if "archive_format" in ends or "serialized_exported_program.json" in ends:
        raise UnsafeFile("The file is a torch.export archive (.pt2); opening it can run code in it.", hint=FROM_TORCH)
    if ends and all(name.endswith(".npy") for name in ends):
        raise UnsupportedFormat("The file is a NumPy archive (.npz); upload it as a dataset.")
    raise UnsupportedFormat("The zip archive holds no .onnx file.")


def _tar_format(path: Path) -> Format:
    if "saved_model.pb" in {name.rsplit("/", 1)[-1] for name in names_in_tar(path)}:
        return Format.SAVED_MODEL
    raise UnsupportedFormat("The tar archive holds no TensorFlow SavedModel.")


def format_of(path: Path) -> Format:
    """Tell the format. Raises for what is not read, with the way to make an ONNX file of it.

    Anything that bears no foreign mark is taken for ONNX, which has none of its own; reading it will tell.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise InvalidModel("The file is empty.")
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path)
    if _looks_pickled(head):
        _refuse_pickle()
    for offset, magic, known in READ:
        if head.startswith(magic, offset):
            return known
    if any(head.startswith(magic, offset) for offset, magic in TARS):
        return _tar_format(path)
    for mark in FOREIGN:
        if head.startswith(mark.magic, mark.offset):
            raise UnsupportedFormat(f"The file is {mark.name}, not ONNX.", hint=mark.hint)
    return Format.ONNX
