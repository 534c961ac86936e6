"""Folders of a configuration and safetensors: Hugging Face transformers, and architectures of timm.

Nothing but JSON is looked at here, and nothing but JSON and safetensors is handed on: no code, no pickle.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from whetstone.contract.toolkits import Toolkit
from workers.engine.graph.graph import Graph
from workers.engine.importers.archive import unpack
from workers.engine.importers.converted import folder_of, read_converted
from workers.engine.importers.errors import InvalidModel, UnsafeFile, UnsupportedFormat
from workers.engine.importers.formats import Format
from workers.engine.importers.instead import FROM_TORCH
from workers.engine.toolkits.running import python_of, run_module

Kind = Literal[Format.TRANSFORMERS, Format.TIMM]

CONVERTER = "workers.engine.toolkits.converters.torch_models"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
TOOLKITS: dict[Kind, Toolkit] = {Format.TRANSFORMERS: Toolkit.TRANSFORMERS, Format.TIMM: Toolkit.TIMM}
MAX_JSON = 64 * 2**20
READ = ("config.json", "preprocessor_config.json", "model.safetensors.index.json")

TIMM_ARGUMENTS = frozenset(
    (
        *("act_layer", "aa_layer", "class_token", "depth", "dynamic_img_size", "embed_dim", "fc_norm", "global_pool"),
        *("img_size", "in_chans", "init_values", "mlp_ratio", "no_embed_class", "norm_layer", "num_classes"),
        *("num_heads", "output_stride", "patch_size", "pos_embed", "qkv_bias", "reg_tokens", "window_size"),
    )
)
"""Of what an architecture can be told: nothing that names a file or fetches anything."""


def read_folder(path: Path, kind: Kind, scratch: Path) -> Graph:
    """The model as ONNX, inputs and outputs named as in its library; batch, and the length of texts, vary.

    Raises UnsafeFile, UnsupportedFormat, InvalidModel, ToolkitMissing, ScriptFailed.
    """
    folder = folder_of(scratch)
    folder.mkdir()
    _stage(unpack(path, scratch), folder / "source")
    config = _read(folder / "source" / "config.json")
    _check_transformers(config) if kind is Format.TRANSFORMERS else _check_timm(config)
    python = python_of(TOOLKITS[kind], FROM_TORCH)
    run_module(python, CONVERTER, (kind, "source", "."), folder, OFFLINE)
    return read_converted(folder)


def _stage(unpacked: Path, source: Path) -> None:
    """Move the files that are read, and no others, into a folder of their own."""
    found = sorted(unpacked.rglob("config.json"), key=lambda file: len(file.parts))
    if not found:
        raise InvalidModel("The archive holds no config.json.")
    source.mkdir()
    for file in found[0].parent.iterdir():
        if file.is_file() and (file.name in READ or file.suffix == ".safetensors"):
            file.rename(source / file.name)
    weights = {file.name for file in source.glob("*.safetensors")}
    if not weights:
        raise InvalidModel("No .safetensors file lies beside config.json.", hint="Zip the folder with its files.")
    _check_index(source / "model.safetensors.index.json", weights)


def _check_index(path: Path, weights: set[str]) -> None:
    """Raises InvalidModel where the list of weights names a file that is not there: outside of the folder, say."""
    named = _read(path).get("weight_map") if path.is_file() else {}
    for name in set(named.values()) if isinstance(named, dict) else (None,):
        if name not in weights:
            raise InvalidModel(f"{path.name} names '{name}', which does not lie beside it.")


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON:
        raise InvalidModel(f"{path.name} is larger than {MAX_JSON} bytes.")
    try:
        told = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{path.name} is no JSON: {error}.") from error
    if not isinstance(told, dict):
        raise InvalidModel(f"{path.name} is no JSON object.")
    return told


def _check_transformers(config: dict[str, Any]) -> None:
    for name in ("auto_map", "trust_remote_code"):
        if any(name in part for part in _parts(config)):
            raise UnsafeFile(
                f"config.json says `{name}`: the model needs code that comes with it, which is never run.",
                hint=f"If transformers has the architecture itself, save it with that class. Else: {FROM_TORCH}",
            )
    if config.get("quantization_config"):
        raise UnsupportedFormat(
            "The weights are quantized in a form of transformers' own.",
            hint="Upload the model in float: model.dequantize() or the original; Whetstone quantizes it.",
        )
    names = config.get("architectures")
    if not (isinstance(names, list) and len(names) == 1 and isinstance(names[0], str)):
        raise InvalidModel(
            "config.json does not name one architecture.",
            hint="Save the model with model.save_pretrained('folder'), which writes it.",
        )


def _check_timm(config: dict[str, Any]) -> None:
    given = config.get("model_args") or {}
    if not isinstance(given, dict):
        raise InvalidModel("`model_args` is no JSON object.")
    for name, value in given.items():
        if name not in TIMM_ARGUMENTS or not _is_plain(value):
            raise UnsupportedFormat(
                f"The argument `{name}` of the architecture is not taken.",
                hint=f"Taken are numbers and names for: {', '.join(sorted(TIMM_ARGUMENTS))}. Else: {FROM_TORCH}",
            )


def _is_plain(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return all(part is None or isinstance(part, bool | int | float | str) for part in parts)


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every object within, at any depth."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
