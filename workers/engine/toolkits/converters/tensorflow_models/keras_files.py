"""Keras networks: the configuration is looked through before anything is made of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from workers.engine.toolkits.converters.model import Model, Refused, first_line
from workers.engine.toolkits.converters.tensorflow_models.functions import of_function

INSTEAD = "Save the network without it, or export it where it was made: model.export('model.onnx', format='onnx')."
RUNS_CODE = {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
WORKS_ON_TEXT = {"StringLookup", "IntegerLookup", "TextVectorization", "Hashing"}
"""They can also be told to read a file."""


def read_keras(folder: Path) -> Model:
    """What a `.keras` file holds, unpacked. Raises Refused."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        with h5py.File(folder / "model.weights.h5") as file:
            _check_links(file)
    except (OSError, ValueError) as error:
        raise _damaged(error) from error
    return _loaded(folder, config)


def read_hdf5(path: Path) -> Model:
    """A network in one HDF5 file, of Keras 2 or 3. Raises Refused."""
    try:
        with h5py.File(path) as file:
            _check_links(file)
            text = file.attrs.get("model_config")
        config = None if text is None else json.loads(text)
    except (OSError, ValueError) as error:
        raise _damaged(error) from error
    if config is None:
        why = "The HDF5 file holds no Keras network, perhaps only weights."
        raise Refused("unsupported_format", why, "Save the network whole: model.save('model.keras').")
    return _loaded(path, config)


def _loaded(path: Path, config: Any) -> Model:
    _check_config(config)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise _damaged(error) from error
    if not getattr(model, "inputs", None):
        why = "The Keras network does not say what goes in."
        raise Refused("unsupported_format", why, "Begin it with keras.Input(shape), and save it again.")
    specs = [tf.TensorSpec(given.shape, given.dtype, name=given.name) for given in model.inputs]
    names = _names(model)

    def call(*given: Any) -> dict[str, Any]:
        made = model(list(given) if len(given) > 1 else given[0], training=False)
        return dict(zip(names, keras.tree.flatten(made), strict=True))

    return of_function(f"Keras {keras.__version__} {type(model).__name__}", INSTEAD, call, specs, names)


def _names(model: Any) -> list[str]:
    """What the outputs are called: after the layers that they come from, if each is from another."""
    count = len(keras.tree.flatten(model.outputs))
    names = list(getattr(model, "output_names", ()))
    if len(set(names)) == count:
        return names
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _check_config(config: Any) -> None:
    """Raises Refused for parts that run code or work on text, and for classes of somebody's own."""
    for part in _parts(config):
        name, module = str(part["class_name"]), str(part.get("module") or "keras")
        called = part["config"].get("name", name) if isinstance(part.get("config"), dict) else name
        if name in RUNS_CODE:
            raise Refused("unsafe_file", f"The {name} layer '{called}' holds code, which is never run.", INSTEAD)
        if name in WORKS_ON_TEXT:
            raise Refused("unsupported_format", f"The {name} layer '{called}' works on text or words.", INSTEAD)
        if module.split(".", 1)[0] not in ("keras", "builtins") or ">" in str(part.get("registered_name")):
            raise Refused("unsupported_format", f"'{called}' is a {name}, a class that Keras does not have.", INSTEAD)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every object that a configuration describes, but those that only training needs."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = [part for name, part in config.items() if name != "compile_config"]
    if isinstance(config, list):
        for each in config:
            yield from _parts(each)


def _check_links(group: h5py.Group) -> None:
    """Raises Refused where an HDF5 file points at another file."""
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise Refused("unsafe_file", f"'{name}' in the HDF5 file is a link to another file.", INSTEAD)
        if isinstance(link, h5py.SoftLink):
            continue  # to another place in the same file, which is looked at by its own name
        child = group[name]
        if isinstance(child, h5py.Group):
            _check_links(child)
        elif child.external or child.is_virtual:
            raise Refused("unsafe_file", f"'{name}' in the HDF5 file is kept in another file.", INSTEAD)


def _damaged(error: Exception) -> Refused:
    return Refused("invalid_model", f"The Keras file cannot be read: {first_line(error)}", INSTEAD)
