"""The gradient of a batch: forward, loss and backward, piece by piece."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import Learning, Mode, Precision
from workers.engine.errors import EngineError
from workers.engine.graph.trainable import Trainable
from workers.engine.training.alignment import Alignment
from workers.engine.training.losses import Targets
from workers.engine.training.objective import Objective
from workers.engine.training.teacher import Teacher

Inputs = Mapping[str, Tensor]


class NeedsCuda(EngineError):
    """Mixed precision is for CUDA devices, and this worker has none."""

    code = FailureCode.NO_WORKER
    hint = "Leave precision at float32."


class NotFinite(Exception):
    """The loss of some inputs is infinite or NaN; `layer` is where it first appears."""

    def __init__(self, layer: str | None) -> None:
        super().__init__(layer)
        self.layer = layer


def device_of(rank: int = 0) -> torch.device:
    """The device that a process trains on: a CUDA device if there is any, else the CPU."""
    return torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")


def set_modes(module: Trainable, learning: Learning) -> None:
    """Keep what is frozen as it is in inference."""
    frozen = {"BatchNormalization": learning.batch_norm is Mode.FROZEN, "Dropout": not learning.dropout}
    module.hold_still(frozenset(op for op, still in frozen.items() if still))


def _precision(learning: Learning, device: torch.device) -> AbstractContextManager[object]:
    if learning.precision is Precision.FLOAT32:
        return nullcontext()
    if device.type != "cuda":
        raise NeedsCuda
    return torch.autocast("cuda", torch.bfloat16)


@dataclass(frozen=True)
class Pupil:
    """What is trained, towards what, and how it is fed: whole batches, or one sample at a time."""

    module: Trainable
    objective: Objective
    learning: Learning
    device: torch.device
    teacher: Teacher | None = None
    feed_singly: bool = False
    alignment: Alignment | None = None

    def pieces(self, inputs: Inputs, targets: Targets | None) -> Iterator[tuple[Inputs, Targets | None, float]]:
        """A batch on the device, whole or sample by sample, each with its share of the whole."""
        count = len(next(iter(inputs.values())))
        size = 1 if self.feed_singly else count
        for start in range(0, count, size):
            cut = slice(start, start + size)
            piece = {name: value[cut].to(self.device) for name, value in inputs.items()}
            yield piece, _moved(targets, cut, self.device), size / count

    def judge(self, inputs: Inputs, targets: Targets | None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of one piece, and the tensors it was found from."""
        with _precision(self.learning, self.device):
            made = self.module(inputs)
        taught = {} if self.teacher is None else self.teacher(inputs)
        loss = self.objective.total(made, taught, targets)
        return loss if self.alignment is None else loss + self.alignment(self.module, made), made


def _moved(targets: Targets | None, cut: slice, device: torch.device) -> Targets | None:
    if targets is None:
        return None
    part = targets.cut(cut)
    return Targets(part.labels.to(device), None if part.others is None else part.others.to(device), part.share)


class Gradients(Protocol):
    """Gathers the gradient of one optimizer step: `begin`, `add` for each of its batches, `finish`."""

    def begin(self, step: int) -> None: ...

    def add(self, inputs: Inputs, targets: Targets | None, share: float) -> None:
        """Add the gradient of a batch that is this share of the step. Raises NotFinite."""

    def finish(self) -> float:
        """The loss of the step; its gradient is in the module's parameters. Raises NotFinite."""
        ...


class Alone:
    """All in this process."""

    def __init__(self, pupil: Pupil) -> None:
        self.pupil = pupil
        self._loss = 0.0

    def begin(self, step: int) -> None:
        del step
        self._loss = 0.0
        self.pupil.module.zero_grad()

    def add(self, inputs: Inputs, targets: Targets | None, share: float) -> None:
        for piece, wanted, part in self.pupil.pieces(inputs, targets):
            loss = self.pupil.judge(piece, wanted)[0] * (share * part)
            if not torch.isfinite(loss):
                raise NotFinite(self.pupil.module.first_not_finite(piece))
            loss.backward()  # type: ignore[no-untyped-call]
            self._loss += loss.item()

    def finish(self) -> float:
        return self._loss
