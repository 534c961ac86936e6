"""Which samples are looked at in which step, and with which random numbers."""

from dataclasses import dataclass

import numpy as np
import torch

from whetstone.contract.learning import Learning, OptimizerName
from workers.engine.data.archive import Array
from workers.engine.data.errors import InvalidDataset

SEED_BITS = 63


class DatasetTooSmall(InvalidDataset):
    """There are too few samples to learn from some and check with others."""

    hint = "Learning takes at least 2 samples in the train split."


def divide(count: int, fraction: float, seed: int) -> tuple[Array, Array]:
    """Positions to train on and to validate on. Raises DatasetTooSmall for fewer than 2 samples."""
    if count < 2:  # noqa: PLR2004 - one to learn from, one to check with
        raise DatasetTooSmall(f"The train split has {count} sample; learning takes at least 2.")
    order = np.random.default_rng(seed).permutation(count)
    held_out = min(max(1, round(count * fraction)), count - 1)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


@dataclass(frozen=True)
class Plan:
    """The rows of every step, from the seed alone. `drop_single` leaves out a lone last sample of an epoch."""

    rows: Array
    learning: Learning
    drop_single: bool

    def steps_of(self, epoch: int) -> list[Array]:
        """The rows of each step of an epoch, in the order of their batches."""
        size, whole = self.learning.batch_size, self.learning.optimizer is OptimizerName.GD
        order = self.rows if whole else np.random.default_rng(self.learning.seed + epoch).permutation(self.rows)
        if self.drop_single and len(order) > size > 1 and len(order) % size == 1:
            order = order[:-1]
        per_step = len(order) if whole else size * self.learning.accumulate
        steps = [order[start : start + per_step] for start in range(0, len(order), per_step)]
        return steps[: self.learning.max_steps_per_epoch]


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Make all random numbers of a step (dropout, augmentation) a function of the seed and the step."""
    mixed = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(mixed) % 2**SEED_BITS)
