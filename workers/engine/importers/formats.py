"""What a file is, told from its bytes; its name proves nothing."""

import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from workers.engine.importers.archive import names_in_tar
from workers.engine.importers.errors import InvalidModel, UnsupportedFormat
from workers.engine.importers.foreign import refuse_members, refuse_pickle, refuse_signature
from workers.engine.importers.instead import FROM_TORCH
from workers.engine.zips import open_zip

HEAD = 512
MAX_CONFIG = 2**20
PICKLE_PROTOCOLS = range(2, 6)
TEXT_PICKLE = re.compile(rb"\(*(c[\w.]+\n[\w.]+\n|\(?[ld]p?\d*\n)")
"""How pickles of protocols 0 and 1 begin: a global to import, or an empty container."""


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
    TRANSFORMERS = "transformers"
    TIMM = "timm"
    TORCH_EXPORT = "torch-export"
    TORCHSCRIPT = "torchscript"


READ = (
    (0, b'{"learner"', Format.XGBOOST),
    (0, b"{L", Format.XGBOOST),
    (0, b"tree\nversion=", Format.LIGHTGBM),
    (0, b"\x89HDF\r\n\x1a\n", Format.HDF5),
    (4, b"TFL3", Format.TFLITE),
)
"""Bytes at an offset that tell a format which is imported."""

IN_ZIP: tuple[tuple[Callable[[list[str], set[str]], bool], Format], ...] = (
    (lambda names, ends: "constants.pkl" in ends and any("/code/" in name for name in names), Format.TORCHSCRIPT),
    (lambda names, ends: "archive_format" in ends and any("/models/" in name for name in names), Format.TORCH_EXPORT),
    (lambda names, ends: "data.pkl" not in ends and any(name.endswith(".onnx") for name in names), Format.ONNX_ZIP),
    (lambda names, _: "schema.json" in names, Format.SKOPS),
    (lambda _, ends: "model.weights.h5" in ends, Format.KERAS),
    (lambda _, ends: "saved_model.pb" in ends, Format.SAVED_MODEL),
)
"""What the names in a zip tell; the first that fits."""

TARS = ((0, b"\x1f\x8b"), (257, b"ustar"))


def _looks_pickled(head: bytes) -> bool:
    binary = head[:1] == b"\x80" and len(head) > 1 and head[1] in PICKLE_PROTOCOLS
    return binary or TEXT_PICKLE.match(head) is not None


def _zip_format(path: Path) -> Format:
    try:
        with open_zip(path) as archive:
            return _members_format(archive)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InvalidModel(f"The zip archive cannot be read: {error}.") from error


def _members_format(archive: zipfile.ZipFile) -> Format:
    names = archive.namelist()
    ends = {name.rsplit("/", 1)[-1] for name in names}
    for holds, known in IN_ZIP:
        if holds(names, ends):
            return known
    if ends & {"data.pkl", "constants.pkl"}:
        refuse_pickle()
    if _is_torch_folder(names):
        return _torch_folder(names, lambda name: archive.open(name).read(MAX_CONFIG))
    if ends & {"archive_format", "serialized_exported_program.json"}:
        raise UnsupportedFormat(
            "The file is a torch.export archive of another kind: compiled code, or of an old PyTorch.",
            hint=f"Save it again: torch.export.save(torch.export.export(model, (example,)), 'model.pt2'). {FROM_TORCH}",
        )
    if ends and all(name.endswith(".npy") for name in ends):
        raise UnsupportedFormat("The file is a NumPy archive (.npz); upload it as a dataset.")
    refuse_members(names)
    raise UnsupportedFormat("The zip archive holds no .onnx file.")


def _tar_format(path: Path) -> Format:
    names = names_in_tar(path)
    if "saved_model.pb" in {name.rsplit("/", 1)[-1] for name in names}:
        return Format.SAVED_MODEL
    if _is_torch_folder(names):
        with tarfile.open(path) as archive:
            return _torch_folder(names, lambda name: _member(archive, name))
    refuse_members(names)
    raise UnsupportedFormat("The tar archive holds no TensorFlow SavedModel and no folder of safetensors.")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    return b"" if file is None else file.read(MAX_CONFIG)


def _is_torch_folder(names: list[str]) -> bool:
    return any(name.endswith(".safetensors") for name in names) and any(map(_is_config, names))


def _is_config(name: str) -> bool:
    return name.rsplit("/", 1)[-1] == "config.json"


def _torch_folder(names: list[str], read: Callable[[str], bytes]) -> Format:
    """A configuration that names one of timm's architectures, or one of transformers'."""
    first = min(filter(_is_config, names), key=lambda name: name.count("/"))
    try:
        told = json.loads(read(first))
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"'{first}' in the archive is no JSON: {error}.") from error
    timm = isinstance(told, dict) and isinstance(told.get("architecture"), str)
    return Format.TIMM if timm else Format.TRANSFORMERS


def format_of(path: Path) -> Format:
    """Tell the format. Raises for what is not read, with the way to make a file that is.

    Anything that bears no foreign mark is taken for ONNX, which has none of its own; reading it will tell.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise InvalidModel("The file is empty.")
    if head.startswith(b"PK\x03\x04"):
        return _zip_format(path)
    if _looks_pickled(head):
        refuse_pickle()
    for offset, magic, known in READ:
        if head.startswith(magic, offset):
            return known
    if any(head.startswith(magic, offset) for offset, magic in TARS):
        return _tar_format(path)
    refuse_signature(path, head)
    return Format.ONNX
