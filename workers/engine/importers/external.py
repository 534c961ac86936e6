"""External data: files beside the .onnx that hold its weights. Checked before any of them is opened."""

from pathlib import Path, PurePosixPath

from onnx import ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data

from workers.engine.graph.storage import stored_bytes
from workers.engine.graph.tensors import all_tensors
from workers.engine.importers.errors import InvalidModel, UnsafeFile


def _place(location: str, folder: Path) -> Path:
    path = PurePosixPath(location)
    if not location or "\\" in location or ":" in location or path.is_absolute() or ".." in path.parts:
        raise UnsafeFile(f"The model keeps weights in '{location}', a path that leads out of its folder.")
    place = folder
    for part in path.parts:
        place /= part
        if place.is_symlink():
            raise UnsafeFile(f"The model keeps weights in '{location}', which is a link.")
    return place


def _check(tensor: TensorProto, folder: Path) -> None:
    info = ExternalDataInfo(tensor)
    place = _place(info.location, folder)
    if not place.is_file():
        raise InvalidModel(
            f"The weights of '{tensor.name}' are in '{info.location}', which was not uploaded.",
            hint="Upload one zip with the .onnx file and its data file, or save the model in a single file.",
        )
    offset, length = info.offset or 0, info.length or stored_bytes(tensor)
    if offset < 0 or length < 0 or offset + length > place.stat().st_size:
        raise InvalidModel(f"'{info.location}' is too short for the weights of '{tensor.name}'.")


def _external(model: ModelProto) -> list[TensorProto]:
    return [tensor for tensor in all_tensors(model) if uses_external_data(tensor)]


def check_external(model: ModelProto, folder: Path) -> None:
    """Refuse external data outside `folder` (UnsafeFile), missing or too short (InvalidModel); reads none of it."""
    for tensor in _external(model):
        _check(tensor, folder)


def load_external(model: ModelProto, folder: Path) -> None:
    """Read checked external weights into the model; they count as weights of the file from then on."""
    if _external(model):
        load_external_data_for_model(model, str(folder))
