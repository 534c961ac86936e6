"""A PyTorch module with named inputs: run, and exported by torch.onnx (docs.pytorch.org, "torch.export-based ONNX")."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch

from workers.engine.toolkits.converters.model import OPSET, SIZES, Model, Tensor
from workers.engine.toolkits.converters.samples import sample

EXAMPLES = 2
"""With one alone the exporter takes a batch to be always one."""
MAX_BATCH = 4096
ONE_FILE_LIMIT = 2**31 - 2**24


class Axis(NamedTuple):
    """An axis that varies, by the name that it gets in the ONNX file."""

    name: str
    most: int = MAX_BATCH
    least: int = 1


class Given(NamedTuple):
    """An input; of its shape each part is a size or an axis that varies. `below` and `padded` as in `Tensor`."""

    name: str
    shape: tuple[int | Axis, ...]
    dtype: type[np.generic] = np.float32
    below: int = 2
    padded: bool = False

    def tensor(self) -> Tensor:
        sizes = tuple(None if isinstance(part, Axis) else part for part in self.shape)
        return Tensor(self.name, sizes, np.dtype(self.dtype), self.below, self.padded)


BATCH = Axis("batch")


class Positional(torch.nn.Module):
    """A module that takes any number of inputs, so that one way of declaring their axes fits all."""

    def __init__(self, module: Callable[..., Any]) -> None:
        super().__init__()
        self.module = module

    def forward(self, *given: torch.Tensor) -> Any:
        return self.module(*given)


def of_module(
    source: str,
    instead: str,
    module: Callable[..., Any],
    inputs: list[Given],
    outputs: list[str],
    sizes: tuple[int, ...] = SIZES,
) -> Model:
    """`module` takes the inputs by position and gives a tensor or a sequence of them, as many as `outputs` names."""

    def save(path: str) -> None:
        _export(module, inputs, outputs, sizes[0], Path(path))

    tensors = [given.tensor() for given in inputs]
    return Model(source, instead, tensors, lambda values: run(module, values), save, sizes)


def run(module: Callable[..., Any], values: list[Any]) -> list[Any]:
    with torch.no_grad():
        made = module(*map(torch.from_numpy, values))
    return [each.float().numpy() if each.is_floating_point() else each.numpy() for each in flat(made)]


def flat(made: Any) -> list[torch.Tensor]:
    """The tensors in what a module gives, in order."""
    if isinstance(made, torch.Tensor):
        return [made]
    parts = made.values() if isinstance(made, dict) else made if isinstance(made, list | tuple) else ()
    return [tensor for part in parts for tensor in flat(part)]


def examples(inputs: list[Given], size: int) -> tuple[torch.Tensor, ...]:
    draw = np.random.default_rng(0)
    return tuple(torch.from_numpy(sample(given.tensor(), EXAMPLES, size, draw)) for given in inputs)


def _export(module: Any, inputs: list[Given], outputs: list[str], size: int, path: Path) -> None:
    varying = tuple(
        {place: _dimension(part) for place, part in enumerate(given.shape) if isinstance(part, Axis)}
        for given in inputs
    )
    exported = torch.onnx.export(
        Positional(module),
        examples(inputs, size),
        dynamo=True,
        dynamic_shapes=(varying,),
        input_names=[given.name for given in inputs],
        output_names=outputs,
        opset_version=OPSET,
        verbose=False,
    )
    if exported is None:
        raise ValueError("the exporter gave nothing")
    write(exported, path)


def _dimension(axis: Axis) -> Any:
    return torch.export.Dim(axis.name, min=axis.least, max=axis.most)


def write(exported: Any, path: Path, names: dict[str, str] | None = None) -> None:
    """In one file, or with its weights beside it where protobuf cannot hold them. Axes get other `names`."""
    weights = sum(tensor.const_value.nbytes for tensor in exported.model.graph.initializers.values())
    exported.save(path, external_data=weights > ONE_FILE_LIMIT)
    proto = onnx.load_model(path, load_external_data=False)
    for value in (*proto.graph.output, *proto.graph.value_info):
        _plain_names_only(value.type.tensor_type.shape)
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in (names or {}):
                axis.dim_param = (names or {})[axis.dim_param]
    onnx.save_model(proto, path)


def _plain_names_only(shape: onnx.TensorShapeProto) -> None:
    """The exporter names what it computes by the formula, which is no name."""
    for axis in shape.dim:
        if axis.dim_param and not axis.dim_param.isidentifier():
            axis.Clear()
