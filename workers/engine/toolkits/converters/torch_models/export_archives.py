"""Programs of torch.export, of which everything that could run on loading was taken out before."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree

from workers.engine.toolkits.converters.model import OPSET, SIZES, Model, Refused, first_line
from workers.engine.toolkits.converters.torch_models.exporting import MAX_BATCH, Axis, Given, examples, flat, run, write
from workers.engine.toolkits.converters.torch_models.operators import INSTEAD, check_operators

PROGRAM = "model/models/model.json"


def read_export(path: Path) -> Model:
    """Raises Refused."""
    with zipfile.ZipFile(path) as archive:
        check_operators(_operators(json.loads(archive.read(PROGRAM))))
    try:
        program = torch.export.load(path)
        inputs = list(_inputs(program))
        program.example_inputs = _pytree.tree_unflatten(list(examples(inputs, SIZES[0])), program.call_spec.in_spec)
        call = _by_position(program)
    except MemoryError:
        raise
    except Exception as error:  # the file is whatever a stranger made it
        why = f"torch.export cannot load the archive: {first_line(error)}"
        raise Refused("invalid_model", why, INSTEAD) from error

    def save(target: str) -> None:
        _save(program, inputs, len(flat(call(*examples(inputs, SIZES[0])))), Path(target))

    source = f"torch.export program (PyTorch {torch.__version__})"
    return Model(source, INSTEAD, [given.tensor() for given in inputs], lambda given: run(call, given), save)


def _operators(told: Any) -> Iterator[str]:
    """As `aten::add`, of the whole program; what else may be called was checked by its name before."""
    waiting = [told]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for name in (part.get("target"), part.get("as_operator")):
                if isinstance(name, str) and name.startswith("torch.ops."):
                    _, _, namespace, operator = name.split(".")[:4]
                    yield f"{namespace}::{operator}"
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()


def _inputs(program: torch.export.ExportedProgram) -> Iterator[Given]:
    """Raises TypeError for an input that is no tensor."""
    made = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    for name in program.graph_signature.user_inputs:
        value = made.get(name) if isinstance(name, str) else None
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"the input '{name}' is no tensor")
        dtype = torch.empty(0, dtype=value.dtype).numpy().dtype.type
        yield Given(str(name), tuple(_axis(size, program.range_constraints) for size in value.shape), dtype)


def _axis(size: int | torch.SymInt, ranges: dict[Any, Any]) -> int | Axis:
    if isinstance(size, int):
        return size
    symbol = size.node.expr
    span = ranges.get(symbol)
    bounds = (1, MAX_BATCH) if span is None else (int(span.lower), int(min(span.upper, MAX_BATCH)))
    return Axis(str(symbol), bounds[1], bounds[0])


def _by_position(program: torch.export.ExportedProgram) -> Any:
    """The program as a function of its inputs in order, however they are nested."""
    module, spec = program.module(), program.call_spec.in_spec

    def call(*given: torch.Tensor) -> Any:
        positional, named = _pytree.tree_unflatten(list(given), spec)
        return module(*positional, **named)

    return call


def _save(program: torch.export.ExportedProgram, inputs: list[Given], outputs: int, path: Path) -> None:
    exported = torch.onnx.export(
        program,
        (),
        dynamo=True,
        input_names=[given.name for given in inputs],
        output_names=["output"] if outputs == 1 else [f"output_{index}" for index in range(outputs)],
        opset_version=OPSET,
        verbose=False,
    )
    first = [given.shape[0] for given in inputs if given.shape]
    batch = first[0].name if first and isinstance(first[0], Axis) else ""
    write(exported, path, {batch: "batch"} if batch else None)
