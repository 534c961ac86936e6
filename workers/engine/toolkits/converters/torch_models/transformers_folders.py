"""Transformers as the Hugging Face hub keeps them: a configuration and weights, built by the library's own code."""

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.auto import configuration_auto, modeling_auto

from workers.engine.toolkits.converters.model import Model, Refused, first_line
from workers.engine.toolkits.converters.torch_models.exporting import BATCH, Axis, Given, examples, of_module

INSTEAD = (
    "Export it where it was trained: torch.onnx.export(model.eval(), (example,), 'model.onnx', dynamo=True, "
    "external_data=False)."
)
AS_SAVED = "Save it whole: model.save_pretrained('folder'), and zip that folder."
WORDS, SIGNAL, IMAGES = "input_ids", "input_values", "pixel_values"
LONGEST = 4096
TRIED_WORDS, TRIED_SAMPLES = 24, (8_000, 32_000)
IMAGE_SIZE = 224


class Alone(torch.nn.Module):
    """The model with inputs by position, and tensors alone as outputs."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names
        known = inspect.signature(model.forward).parameters
        self.extra = {"use_cache": False} if "use_cache" in known else {}

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(_tensors(self.model(**dict(zip(self.names, given, strict=True)), **self.extra)).values())


def read_transformers(folder: Path) -> Model:
    """The model that `config.json` names, with the weights beside it. Raises Refused."""
    config = _configuration(folder)
    model = _loaded(folder, config)
    inputs = _inputs(model, folder)
    alone = Alone(model, [given.name for given in inputs]).eval()
    source = f"transformers {transformers.__version__} {type(model).__name__}"
    sizes = TRIED_SAMPLES if inputs[0].name == SIGNAL else (min(TRIED_WORDS, _longest(config)),)
    return of_module(source, INSTEAD, alone, inputs, _outputs(alone, inputs, sizes[0], source), sizes)


def _configuration(folder: Path) -> Any:
    kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    if kind not in configuration_auto.CONFIG_MAPPING_NAMES:
        why = f"transformers {transformers.__version__} has no model of the type '{kind}'."
        raise Refused("unsupported_format", why, INSTEAD)
    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the file is whatever a stranger made it
        why = f"transformers cannot read config.json: {first_line(error)}"
        raise Refused("invalid_model", why, AS_SAVED) from error


def _registered() -> set[str]:
    """The names of all classes that the library's own tables know for some task."""
    names: set[str] = set()
    for table, entries in vars(modeling_auto).items():
        if table.endswith("_MAPPING_NAMES"):
            for name in entries.values():
                names |= set(name) if isinstance(name, tuple | list) else {name}
    return names


def _loaded(folder: Path, config: Any) -> Any:
    (name,) = config.architectures
    if name not in _registered() or not hasattr(transformers, name):
        why = f"transformers {transformers.__version__} has no architecture called '{name}'."
        raise Refused("unsupported_format", why, INSTEAD)
    try:
        model, told = getattr(transformers, name).from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:
        why = f"transformers cannot load the {name}: {first_line(error)}"
        raise Refused("invalid_model", why, AS_SAVED) from error
    missing = sorted(told["missing_keys"])
    if missing:  # the library would make them up
        why = f"The weights of the {name} lack {len(missing)} tensors, '{missing[0]}' among them."
        raise Refused("invalid_model", why, AS_SAVED)
    return model.eval()


def _longest(config: Any) -> int:
    told = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return told if isinstance(told, int) and told > 1 else LONGEST


def _inputs(model: Any, folder: Path) -> list[Given]:
    config, known = model.config, inspect.signature(model.forward).parameters
    match model.main_input_name:
        case "input_ids" if hasattr(config, "vocab_size"):
            return _words(config, known)
        case "pixel_values" if "input_ids" not in known:
            return [Given(IMAGES, (BATCH, getattr(config, "num_channels", 3), *_image_size(config, folder)))]
        case "input_values" if "input_ids" not in known:
            return [Given(SIGNAL, (BATCH, Axis("samples", 2**20, TRIED_SAMPLES[0] // 8)))]
        case other:
            why = f"A {type(model).__name__} takes '{other}' and more, which cannot be told from its configuration."
            raise Refused("unsupported_format", why, INSTEAD)


def _words(config: Any, known: Any) -> list[Given]:
    def text(axis: str, name: str, below: int = 2, *, padded: bool = False) -> Given:
        return Given(name, (BATCH, Axis(axis, _longest(config))), np.int64, below, padded)

    inputs = [text("sequence", WORDS, config.vocab_size)]
    if "attention_mask" in known:
        inputs.append(text("sequence", "attention_mask", padded=True))
    if "token_type_ids" in known and getattr(config, "type_vocab_size", 0) > 1:
        inputs.append(text("sequence", "token_type_ids"))
    if config.is_encoder_decoder:
        inputs.append(text("decoder_sequence", "decoder_input_ids", config.vocab_size))
    return inputs


def _image_size(config: Any, folder: Path) -> tuple[int, int]:
    """Height and width: those of the configuration, else those that images are made to have, else 224."""
    size = getattr(config, "image_size", None)
    prepared = folder / "preprocessor_config.json"
    if size is None and prepared.is_file():
        told = json.loads(prepared.read_text("utf-8"))
        size = told.get("crop_size") or told.get("size")
    if isinstance(size, dict):
        size = (size.get("height") or size.get("shortest_edge"), size.get("width") or size.get("shortest_edge"))
    height, width = size if isinstance(size, tuple | list) and len(size) == 2 else (size, size)  # noqa: PLR2004
    return (height, width) if isinstance(height, int) and isinstance(width, int) else (IMAGE_SIZE, IMAGE_SIZE)


def _tensors(made: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}


def _outputs(alone: Alone, inputs: list[Given], size: int, source: str) -> list[str]:
    """What the library calls them. Raises Refused for a model that does not run."""
    try:
        with torch.no_grad():
            made = alone.model(**dict(zip(alone.names, examples(inputs, size), strict=True)), **alone.extra)
    except Exception as error:
        why = f"The {source} does not run on inputs of its own shapes: {first_line(error)}"
        raise Refused("invalid_model", why, AS_SAVED) from error
    return list(_tensors(made))
