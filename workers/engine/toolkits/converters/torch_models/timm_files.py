"""Image models of timm, by the name of their architecture."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import timm

from workers.engine.toolkits.converters.model import Model, Refused, first_line
from workers.engine.toolkits.converters.torch_models.exporting import BATCH, Given, of_module

INSTEAD = (
    "Export it where it was trained: torch.onnx.export(model.eval(), (example,), 'model.onnx', dynamo=True, "
    "external_data=False)."
)
IMAGE = (3, 224, 224)
SIDES = 3


def read_timm(folder: Path) -> Model:
    """The architecture that `config.json` names, with the weights beside it. Raises Refused."""
    told = json.loads((folder / "config.json").read_text("utf-8"))
    name = str(told["architecture"])
    model = _built(name, told)
    _load(model, name, folder)
    size = _input_size(told, model)
    source = f"timm {timm.__version__} {name}"
    return of_module(source, INSTEAD, model, [Given("image", (BATCH, *size))], ["output"])


def _built(name: str, told: dict[str, Any]) -> Any:
    if not timm.is_model(name):
        raise Refused("unsupported_format", f"timm {timm.__version__} has no architecture called '{name}'.", INSTEAD)
    given = dict(told.get("model_args") or {})
    for argument in ("num_classes", "global_pool"):
        if argument in told:
            given.setdefault(argument, told[argument])
    try:
        return timm.create_model(name, pretrained=False, **given).eval()
    except MemoryError:
        raise
    except Exception as error:  # the arguments are whatever a stranger wrote
        why = f"timm cannot build '{name}' with these arguments: {first_line(error)}"
        raise Refused("invalid_model", why, INSTEAD) from error


def _load(model: Any, name: str, folder: Path) -> None:
    try:
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        model.load_state_dict(weights, strict=True)
    except MemoryError:
        raise
    except Exception as error:
        why = f"The weights are not those of a '{name}': {' '.join(str(error).split())[:300]}"
        hint = "Save them with safetensors.torch.save_model(model, 'model.safetensors'), and name that architecture."
        raise Refused("invalid_model", why, hint) from error


def _input_size(told: dict[str, Any], model: Any) -> tuple[int, ...]:
    """Channels, height, width: as declared, else as timm says of the architecture."""
    declared = (told.get("pretrained_cfg") or {}).get("input_size") or told.get("input_size")
    size = declared or getattr(model, "default_cfg", {}).get("input_size") or IMAGE
    if len(size) != SIDES or not all(isinstance(side, int) and side > 0 for side in size):
        raise Refused("invalid_model", "`input_size` is not [channels, height, width].", "Write [3, 224, 224], say.")
    return tuple(size)
