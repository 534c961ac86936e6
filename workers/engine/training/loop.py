"""The training loop: seeded, watched, stopped early, and ended with a reason when it diverges."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from whetstone.contract.datasets import Split
from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import Learning, OptimizerName
from whetstone.contract.reports import Curve
from workers.engine.data.archive import Array
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.samples import Batch, Samples
from workers.engine.errors import EngineError
from workers.engine.graph.trainable import Trainable
from workers.engine.training.objective import Objective, as_labels


class TrainingDiverged(EngineError):
    """The loss became infinite or NaN."""

    code = FailureCode.TRAINING_DIVERGED
    hint = "Lower the learning rate."


@dataclass(frozen=True)
class Epoch:
    """Mean losses of one epoch; `validation_accuracy` is a share, None where labels are no classes."""

    loss: float
    validation_loss: float
    validation_accuracy: float | None


@dataclass(frozen=True)
class Hooks:
    """What others do in the loop: `after_step` gets the number of steps done, `after_epoch` the share of work done."""

    after_step: Callable[[int], None] = lambda _: None
    after_epoch: Callable[[float, int, Epoch], None] = lambda _share, _number, _epoch: None


@dataclass(frozen=True)
class Course:
    """What is to be learned, from what, and on how many threads.

    `feed_singly` is for graphs whose batch axis is fixed at 1: gradients are then summed over a batch's samples.
    The loop runs on, beyond `learning.epochs`, until `min_steps` are done; early stopping looks only after them.
    """

    samples: Samples
    learning: Learning
    objective: Objective
    threads: int
    validation_fraction: float = 0.1
    min_steps: int = 0
    feed_singly: bool = False
    hooks: Hooks = field(default_factory=Hooks)


@dataclass(frozen=True)
class Learned:
    """How it went, epoch by epoch; `best` is the epoch whose weights were kept, counted from 1."""

    epochs: tuple[Epoch, ...]
    steps: int
    best: int

    def curves(self) -> tuple[Curve, ...]:
        """Losses and accuracy per epoch."""
        x = tuple(float(number) for number in range(1, len(self.epochs) + 1))
        told: dict[str, list[float | None]] = {
            "training loss": [epoch.loss for epoch in self.epochs],
            "validation loss": [epoch.validation_loss for epoch in self.epochs],
            "validation accuracy": [epoch.validation_accuracy for epoch in self.epochs],
        }
        return tuple(
            Curve(name=name, x_label="epoch", y_label=name.split()[-1], x=x, y=tuple(y for y in ys if y is not None))
            for name, ys in told.items()
            if None not in ys
        )


def _optimizer(module: Trainable, learning: Learning) -> torch.optim.Optimizer:
    weights = list(module.weights.values())
    rate, decay = learning.learning_rate, learning.weight_decay
    match learning.optimizer:
        case OptimizerName.ADAM:
            return torch.optim.Adam(weights, rate, weight_decay=decay)
        case OptimizerName.ADAMW:
            return torch.optim.AdamW(weights, rate, weight_decay=decay)
        case OptimizerName.SGD:
            return torch.optim.SGD(weights, rate, weight_decay=decay)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array)


def divide(count: int, fraction: float, seed: int) -> tuple[Array, Array]:
    """Positions to train on and to validate on. Raises InvalidDataset for fewer than 2 samples."""
    if count < 2:  # noqa: PLR2004 - one to learn from, one to check with
        raise InvalidDataset(f"The train split has {count} sample; learning takes at least 2.")
    order = np.random.default_rng(seed).permutation(count)
    held_out = min(max(1, round(count * fraction)), count - 1)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


class _Loop:
    """The state of one run."""

    def __init__(self, module: Trainable, course: Course) -> None:
        self.module, self.course = module, course
        self.optimizer = _optimizer(module, course.learning)
        count = course.samples.count(Split.TRAIN)
        self.train_rows, self.validation_rows = divide(count, course.validation_fraction, course.learning.seed)
        self.steps = 0
        self.epochs: list[Epoch] = []
        self.best = (float("inf"), 0)
        self.best_state: dict[str, Tensor] = {}

    def _batches(self, rows: Array, shuffle_seed: int | None) -> Iterator[Batch]:
        size = self.course.learning.batch_size
        for batch in self.course.samples.batches(
            Split.TRAIN, size, shuffle_seed=shuffle_seed, with_labels=True, within=rows
        ):
            # a lone last sample has no variance to normalize by; another epoch will have it in a full batch
            if shuffle_seed is None or size == 1 or len(rows) < size or batch.size > 1:
                yield batch

    def _pieces(self, batch: Batch) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """A batch as tensors, whole, or sample by sample where the graph takes only one."""
        labels = as_labels(_tensor(batch.required_labels))
        inputs = {name: _tensor(array) for name, array in batch.inputs.items()}
        size = 1 if self.course.feed_singly else batch.size
        for start in range(0, batch.size, size):
            cut = slice(start, start + size)
            yield {name: value[cut] for name, value in inputs.items()}, labels[cut]

    def _outputs(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.module(inputs)[self.course.objective.output]  # type: ignore[no-any-return]

    def _step(self, batch: Batch) -> float:
        self.optimizer.zero_grad()
        total = 0.0
        for inputs, labels in self._pieces(batch):
            share = len(labels) / batch.size
            loss = self.course.objective.loss(self._outputs(inputs), labels) * share
            if not torch.isfinite(loss):
                self._diverged(inputs)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        self.optimizer.step()
        self.steps += 1
        self.course.hooks.after_step(self.steps)
        return total

    def _diverged(self, inputs: dict[str, Tensor]) -> None:
        layer = self.module.first_not_finite(inputs)
        where = f" at '{layer}'" if layer else ""
        raise TrainingDiverged(f"The loss became infinite or NaN in step {self.steps + 1}{where}.", layer=layer)

    @torch.no_grad()
    def _validate(self) -> tuple[float, float | None]:
        self.module.eval()
        objective, losses, hits = self.course.objective, [], []
        for batch in self._batches(self.validation_rows, None):
            for inputs, labels in self._pieces(batch):
                made = self._outputs(inputs)
                losses.append(float(objective.loss(made, labels)) * len(labels))
                correct = objective.correct(made, labels)
                hits.append(None if correct is None else float(correct.float().mean()) * len(labels))
        count = len(self.validation_rows)
        known = [hit for hit in hits if hit is not None]
        return sum(losses) / count, sum(known) / count if known else None

    def _epoch(self, number: int) -> None:
        self.module.train()
        batches = self._batches(self.train_rows, self.course.learning.seed + number)
        losses = [self._step(batch) for batch in batches]
        validation_loss, accuracy = self._validate()
        if not math.isfinite(validation_loss):
            raise TrainingDiverged(f"The validation loss became infinite or NaN after epoch {number + 1}.")
        self.epochs.append(Epoch(sum(losses) / len(losses), validation_loss, accuracy))

    def _keep_best(self, min_delta: float) -> None:
        """Remember the weights of an epoch that is better by more than `min_delta`."""
        loss = self.epochs[-1].validation_loss
        if self.steps >= self.course.min_steps and loss < self.best[0] - min_delta:
            self.best = (loss, len(self.epochs))
            self.best_state = {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    def _has_stopped_improving(self) -> bool:
        stopping = self.course.learning.early_stopping
        if stopping is None:
            return False
        self._keep_best(stopping.min_delta)
        return self.best[1] > 0 and len(self.epochs) - self.best[1] >= stopping.patience

    def _share_done(self) -> float:
        steps = self.steps / self.course.min_steps if self.course.min_steps else 1.0
        return min(len(self.epochs) / self.course.learning.epochs, steps, 1.0)

    def run(self) -> Learned:
        while len(self.epochs) < self.course.learning.epochs or self.steps < self.course.min_steps:
            self._epoch(len(self.epochs))
            self.course.hooks.after_epoch(self._share_done(), len(self.epochs), self.epochs[-1])
            if self._has_stopped_improving():
                break
        if self.best_state:
            self.module.load_state_dict(self.best_state)
        return Learned(tuple(self.epochs), self.steps, self.best[1] or len(self.epochs))


def learn(module: Trainable, course: Course) -> Learned:
    """Train the weights of `module` in place on the train split, a seeded part of it held out for validation.

    The same seed, threads and data give the same weights. With early stopping the best weights are kept, without
    it the last. Raises TrainingDiverged, DatasetMismatch, InvalidDataset.
    """
    torch.set_num_threads(course.threads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(course.learning.seed)
        return _Loop(module, course).run()
