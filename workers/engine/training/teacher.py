"""The teacher: what another graph makes of the same inputs, batch by batch, without gradients."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from onnx import ValueInfoProto
from torch import Tensor

from whetstone.calibration.session import Session
from whetstone.contract.models import TensorFacts
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import NotTrainable, Trainable
from workers.engine.training.losses import TeacherMismatch


class Teacher(Protocol):
    """Tensors by input name in, the wanted tensors by name out."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]: ...


class _InTorch:
    """A teacher whose ops all run in PyTorch: on the device of the student."""

    def __init__(self, graph: Graph, tensors: tuple[str, ...], device: torch.device) -> None:
        self._module = Trainable(graph, tensors).to(device).eval().requires_grad_(requires_grad=False)

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        made: Mapping[str, Tensor] = self._module(inputs)
        return made


def _showing(graph: Graph, tensors: tuple[str, ...]) -> Graph:
    """The graph with other outputs: onnxruntime finds out their types itself."""
    shown = graph.copy()
    del shown.model.graph.output[:]
    shown.model.graph.output.extend(ValueInfoProto(name=name) for name in tensors)
    return shown


class _InRuntime:
    """A teacher with ops that only onnxruntime knows: on the CPU."""

    def __init__(self, graph: Graph, tensors: tuple[str, ...], folder: Path, threads: int) -> None:
        with tempfile.TemporaryDirectory(dir=folder, prefix="teacher-") as name:
            path = Path(name) / "teacher.onnx"
            _showing(graph, tensors).save(path)
            self._session = Session(path, threads=threads)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        made = self._session.run({name: value.cpu().numpy() for name, value in inputs.items()})
        device = next(iter(inputs.values())).device
        return {name: torch.from_numpy(value).to(device) for name, value in made.items()}


def check_inputs(teacher: Graph, student: Graph) -> None:
    """Raises TeacherMismatch unless both take inputs of the same names, types and, where both fix them, sizes."""
    theirs, own = ({facts.name: facts for facts in graph.inputs} for graph in (teacher, student))
    if theirs.keys() != own.keys() or not all(_alike(theirs[name], own[name]) for name in own):
        told = [", ".join(f"{f.name} {f.dtype}{list(f.shape)}" for f in facts.values()) for facts in (theirs, own)]
        raise TeacherMismatch(f"The teacher takes {told[0]}, the student {told[1]}.")


def _alike(one: TensorFacts, other: TensorFacts) -> bool:
    """Whether an array can be fed to both; dynamic axes take any size."""
    if one.dtype != other.dtype or len(one.shape) != len(other.shape):
        return False
    pairs = zip(one.shape, other.shape, strict=True)
    return all(a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in pairs)


def open_teacher(
    graph: Graph, tensors: tuple[str, ...], *, device: torch.device, folder: Path, threads: int
) -> Teacher:
    """Run in PyTorch, or in onnxruntime where an op is not known there. `folder` takes files for a moment."""
    try:
        return _InTorch(graph, tensors, device)
    except NotTrainable:
        return _InRuntime(graph, tensors, folder, threads)
