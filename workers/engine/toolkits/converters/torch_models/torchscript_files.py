"""TorchScript: what its methods do is read before anything of them runs; its inputs are declared in the file."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workers.engine.toolkits.converters.model import SIZES, Model, Refused, first_line
from workers.engine.toolkits.converters.torch_models.exporting import Axis, Given, examples, flat, run
from workers.engine.toolkits.converters.torch_models.operators import INSTEAD, check_operators

OPSET = 18
DECLARATION = "inputs.json"
DECLARE = (
    "Save it with what goes in: torch.jit.save(model, 'model.pt', _extra_files={'inputs.json': "
    "json.dumps([{'name': 'x', 'shape': ['batch', 3, 224, 224], 'dtype': 'float32'}])})."
)
TYPES = {"float32", "float64", "int64", "int32", "bool"}


def read_torchscript(path: Path) -> Model:
    """Raises Refused."""
    declared = {DECLARATION: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=declared)  # type: ignore[no-untyped-call]
        graph = module.inlined_graph
    except Exception as error:  # the file is whatever a stranger made it
        why = f"PyTorch cannot load the TorchScript: {first_line(error)}"
        raise Refused("invalid_model", why, INSTEAD) from error
    check_operators(_operators(graph))
    inputs = _declared(declared[DECLARATION])
    module.eval()

    def save(target: str) -> None:
        _save(module, inputs, target)

    source = f"TorchScript (PyTorch {torch.__version__})"
    return Model(source, INSTEAD, [given.tensor() for given in inputs], lambda given: run(module, given), save)


def _operators(block: Any) -> Iterator[str]:
    """Of the graph and of all branches and loops in it."""
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _operators(inner)


def _declared(text: str | bytes) -> list[Given]:
    try:
        told = json.loads(text)
        inputs = [_input(each) for each in told]
    except (ValueError, TypeError, KeyError) as error:
        why = "TorchScript does not say what goes in, and the file holds no valid `inputs.json` that does."
        raise Refused("unsupported_format", why, DECLARE) from error
    if not inputs:
        raise Refused("unsupported_format", "`inputs.json` names no input.", DECLARE)
    return inputs


def _input(told: dict[str, Any]) -> Given:
    dtype = told.get("dtype", "float32")
    if dtype not in TYPES or not isinstance(told["name"], str):
        raise ValueError(dtype)
    return Given(told["name"], tuple(map(_part, told["shape"])), np.dtype(dtype).type)


def _part(size: Any) -> int | Axis:
    if isinstance(size, str) and size.isidentifier():
        return Axis(size)
    if isinstance(size, int) and size > 0:
        return size
    raise ValueError(size)


def _save(module: Any, inputs: list[Given], path: str) -> None:
    """By the older exporter, which alone reads TorchScript."""
    given = examples(inputs, SIZES[0])
    with torch.no_grad():
        count = len(flat(module(*given)))
    outputs = ["output"] if count == 1 else [f"output_{index}" for index in range(count)]
    varying = {
        each.name: {place: part.name for place, part in enumerate(each.shape) if isinstance(part, Axis)}
        for each in inputs
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older one
        torch.onnx.export(
            module,
            given,
            path,
            dynamo=False,
            input_names=[each.name for each in inputs],
            output_names=outputs,
            dynamic_axes=varying | {name: {0: "batch"} for name in outputs if any(varying.values())},
            opset_version=OPSET,
        )
