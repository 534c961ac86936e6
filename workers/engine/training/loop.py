"""The training loop: seeded, watched, stopped early, and ended with a reason when it diverges."""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from whetstone.contract.datasets import Split
from whetstone.contract.learning import Mode
from workers.engine.data.archive import Array
from workers.engine.data.augmentation import augmented, check_augmentations
from workers.engine.data.augmentation_mixing import Mixed
from workers.engine.data.samples import Batch
from workers.engine.graph.trainable import Trainable
from workers.engine.training import keeping
from workers.engine.training.course import Course
from workers.engine.training.gradients import (
    Alone,
    Gradients,
    NotFinite,
    Pupil,
    device_of,
    set_modes,
)
from workers.engine.training.keeping import Standing, State
from workers.engine.training.losses import Targets, as_labels
from workers.engine.training.optimizers import add_l1, clip, make_optimizer, rate_at
from workers.engine.training.progress import Epoch, Hooks, Learned
from workers.engine.training.replicas import spread
from workers.engine.training.schedule import Plan, divide, seed_step
from workers.engine.training.teacher import open_teacher
from workers.engine.training.trouble import TrainingDiverged, typed_failures

__all__ = ["Course", "Epoch", "Hooks", "Learned", "TrainingDiverged", "divide", "learn"]


def _mixed_labels(targets: Targets | None, mixed: Mixed) -> Targets | None:
    """The labels of a batch and of what was mixed into it."""
    if targets is None or mixed.partners is None:
        return targets
    return Targets(targets.labels, targets.labels[mixed.partners], mixed.share)


class _Loop:
    """The state of one run."""

    def __init__(self, pupil: Pupil, course: Course, gradients: Gradients) -> None:
        self.pupil, self.course, self.gradients = pupil, course, gradients
        self.module, self.learning = pupil.module, course.learning
        self.weights = list(self.module.weights.values())
        scales = list(self.module.scales.values())
        self.learned = [*self.weights, *scales]
        self.optimizer = make_optimizer(self.weights, self.learning, scales)
        count = course.samples.count(Split.TRAIN)
        rows, self.validation_rows = divide(count, course.validation_fraction, self.learning.seed)
        # a lone last sample has no variance to normalize by; another epoch will have it in a full batch
        normalizes = self.learning.batch_norm is Mode.TRAIN and any(True for _ in self.module.buffers())
        self.plan = Plan(rows, self.learning, drop_single=normalizes)
        self.steps_per_epoch = len(self.plan.steps_of(0))
        self.labelled = course.samples.has_labels(Split.TRAIN)
        self.at = Standing()
        self.best_state: dict[str, Tensor] = {}
        self.mark = keeping.fingerprint(course.keeper, self.module, self.learning) if course.keeper else ""

    def _batches(self, rows: Array) -> Iterator[Batch]:
        size = self.learning.batch_size
        return self.course.samples.batches(Split.TRAIN, size, with_labels=self.labelled, within=rows)

    @staticmethod
    def _tensors(batch: Batch) -> tuple[dict[str, Tensor], Targets | None]:
        inputs = {name: torch.from_numpy(array) for name, array in batch.inputs.items()}
        return inputs, None if batch.labels is None else Targets(as_labels(torch.from_numpy(batch.labels)))

    def _set_rate(self) -> None:
        steps = max(self.learning.epochs * self.steps_per_epoch, self.course.min_steps)
        rate = rate_at(self.at.steps, self.learning, steps=steps, steps_per_epoch=self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _gather(self, rows: Array) -> float:
        """Leave the gradient of a step in the parameters."""
        self.gradients.begin(self.at.steps)
        for batch in self._batches(rows):
            inputs, targets = self._tensors(batch)
            mixed = augmented(self.learning.augment, inputs)
            self.gradients.add(mixed.inputs, _mixed_labels(targets, mixed), batch.size / len(rows))
        return self.gradients.finish()

    def _step(self, rows: Array) -> None:
        seed_step(self.learning.seed, self.at.steps)
        self._set_rate()
        loss = self._gather(rows)
        if self.learning.l1_penalty:
            add_l1(self.weights, self.learning.l1_penalty)
        if self.learning.clip_norm is not None and not math.isfinite(clip(self.learned, self.learning.clip_norm)):
            raise NotFinite(None)
        self.optimizer.step()
        self.at.steps += 1
        self.at.steps_in_epoch += 1
        self.at.loss_in_epoch += loss
        self.course.hooks.after_step(self.at.steps)
        self._keep()

    def _keep(self) -> None:
        keeper = self.course.keeper
        if keeper is None or self.at.steps % keeper.every:
            return
        state = State(self.module, self.optimizer, self.best_state, self.course.hooks.remember())
        keeper.save(self.at.steps, lambda path: keeping.save(path, self.mark, self.at, state))

    def _go_on(self) -> int:
        """Take up what an earlier attempt left. Returns the number of steps it had made."""
        keeper = self.course.keeper
        if keeper is None or keeper.saved is None:
            return 0
        state = State(self.module, self.optimizer)
        found = keeping.load(keeper.saved, self.mark, state)
        if found is not None:
            self.at, self.best_state = found, state.best
            self.course.hooks.recall(found.steps, state.others)
        return self.at.steps

    @torch.no_grad()
    def _validate(self) -> tuple[float, float | None]:
        self.module.eval()
        loss, hits = 0.0, 0.0
        classes = True
        for batch in self._batches(self.validation_rows):
            for inputs, targets, share in self.pupil.pieces(*self._tensors(batch)):
                found, made = self.pupil.judge(inputs, targets)
                if not torch.isfinite(found):
                    raise NotFinite(self.module.first_not_finite(inputs))
                loss += float(found) * share * batch.size
                output = made[self.course.objective.output]
                correct = None if targets is None else self.course.objective.correct(output, targets.labels)
                classes = classes and correct is not None
                hits += 0.0 if correct is None else float(correct.float().mean()) * share * batch.size
        count = len(self.validation_rows)
        return loss / count, hits / count if classes else None

    def _epoch(self) -> None:
        self.module.train()
        for rows in self.plan.steps_of(len(self.at.epochs))[self.at.steps_in_epoch :]:
            self._step(rows)
        validation_loss, accuracy = self._validate()
        self.at.epochs.append(Epoch(self.at.loss_in_epoch / self.at.steps_in_epoch, validation_loss, accuracy))
        self.at.steps_in_epoch, self.at.loss_in_epoch = 0, 0.0
        self._keep_best(validation_loss)

    def _keep_best(self, loss: float) -> None:
        """Remember the weights of an epoch that is better by more than `min_delta`."""
        stopping = self.learning.early_stopping
        if self.at.steps >= self.course.min_steps and loss < self.at.best_loss - (
            stopping.min_delta if stopping else 0
        ):
            self.at.best_loss, self.at.best_epoch = loss, len(self.at.epochs)
            self.best_state = {name: value.detach().clone() for name, value in self.module.state_dict().items()}

    def _has_stopped_improving(self) -> bool:
        stopping = self.learning.early_stopping
        return (
            stopping is not None
            and self.at.best_epoch > 0
            and len(self.at.epochs) - self.at.best_epoch >= stopping.patience
        )

    def _share_done(self) -> float:
        steps = self.at.steps / self.course.min_steps if self.course.min_steps else 1.0
        return min(len(self.at.epochs) / self.learning.epochs, steps, 1.0)

    def _is_over(self) -> bool:
        enough = len(self.at.epochs) >= self.learning.epochs and self.at.steps >= self.course.min_steps
        return enough or self._has_stopped_improving()

    def run(self) -> Learned:
        resumed_at = self._go_on()
        with typed_failures(lambda: self.at.steps + 1, self._fall_back):
            while not self._is_over():
                self._epoch()
                self.course.hooks.after_epoch(self._share_done(), len(self.at.epochs), self.at.epochs[-1])
        best = self.at.best_epoch if self.learning.early_stopping and self.best_state else 0
        if best:
            self.module.load_state_dict(self.best_state)
        return Learned(tuple(self.at.epochs), self.at.steps, best or len(self.at.epochs), resumed_at)

    def _fall_back(self) -> str:
        """Leave the best weights so far in the module, and say which they are."""
        if not self.best_state:
            return ""
        self.module.load_state_dict(self.best_state)
        return f" Until then epoch {self.at.best_epoch} was the best (validation loss {self.at.best_loss:.4g})."


def _pupil(module: Trainable, course: Course) -> Pupil:
    device = device_of()
    set_modes(module, course.learning)
    teacher = course.companion
    if teacher is None and course.teacher is not None and course.objective.taught:
        folder, threads = course.scratch or Path(tempfile.gettempdir()), course.threads
        teacher = open_teacher(course.teacher, course.objective.taught, device=device, folder=folder, threads=threads)
    return Pupil(
        module.to(device), course.objective, course.learning, device, teacher, course.feed_singly, course.alignment
    )


def learn(module: Trainable, course: Course) -> Learned:
    """Train the weights of `module` in place on the train split, a seeded part of it held out for validation.

    The same seed, threads and data give the same weights, also when an earlier attempt is gone on with. With early
    stopping the best weights are kept, without it the last; when it fails, the best so far are left in `module`.
    Raises TrainingDiverged, OutOfMemory, CannotRun, DatasetMismatch, TeacherMismatch, InvalidDataset, NeedsCuda.
    """
    check_augmentations(course.learning.augment, course.samples)
    torch.set_num_threads(max(1, course.threads // course.processes))
    with torch.random.fork_rng(devices=[]):
        with typed_failures():
            pupil = _pupil(module, course)
        if course.processes == 1:
            return _Loop(pupil, course, Alone(pupil)).run()
        with spread(pupil, course) as gradients:
            return _Loop(pupil, course, gradients).run()
