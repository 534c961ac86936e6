"""What a measurement runs on: the dataset's samples, or random ones for a model that came without."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from whetstone.contract.datasets import Split
from whetstone.contract.failures import FailureCode
from whetstone.contract.models import TensorFacts
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.fit import check_fit
from workers.engine.data.samples import Batch, Samples
from workers.engine.data.synthesis import random_batches
from workers.engine.errors import EngineError
from workers.engine.targets.runtime import Array

SYNTHETIC_SAMPLES = 256


class BatchFixed(EngineError):
    """The model takes another number of samples at once than the measurement asks for."""

    code = FailureCode.TARGET_BUILD_FAILED
    hint = "Set measurement.batch_size to that number, or export the model with a dynamic batch axis."


@dataclass(frozen=True)
class Feed:
    """Batches of `batch_size` samples. Each call of `batches` starts anew, with the same samples: all of the split, or
    `at_most` so many, evenly spread over it.
    """

    inputs: tuple[TensorFacts, ...]
    batch_size: int
    shapes: dict[str, tuple[int, ...]]
    samples: Samples | None
    split: Split = Split.TEST
    at_most: int | None = None

    def check(self) -> None:
        """Raises: BatchFixed, DatasetMismatch."""
        for facts in self.inputs:
            fixed = facts.shape[0] if facts.shape else None
            if isinstance(fixed, int) and fixed != self.batch_size:
                raise BatchFixed(f"Input '{facts.name}' takes {fixed} samples at once, not {self.batch_size}.")
        if self.samples:
            check_fit(self.samples.facts(), self.inputs)
            if self.count < self.batch_size:
                raise DatasetMismatch(
                    f"The {self._split} split has {self.count} samples, too few for one batch of {self.batch_size}."
                )

    @property
    def count(self) -> int:
        """Samples in all batches together."""
        whole = self.samples.count(self._split) if self.samples else SYNTHETIC_SAMPLES
        count = whole if self.at_most is None else min(whole, max(self.at_most, self.batch_size))
        return count if self.samples else self.batch_size * -(-count // self.batch_size)

    @property
    def labels(self) -> Array | None:
        """Of the split that was asked for. Others were learned from: what a model knows of them says little."""
        if self.samples and self.samples.has_labels(self.split):
            return self.samples.labels(self.split)
        return None

    def batches(self) -> Iterator[Batch]:
        """All samples in order; with labels where the split that was asked for has them."""
        if self.samples:
            labelled = self.samples.has_labels(self.split)
            within = _spread(self.count, self.samples.count(self._split))
            yield from self.samples.batches(self._split, self.batch_size, with_labels=labelled, within=within)
        else:
            count = self.count // self.batch_size
            for inputs in random_batches(self.inputs, self.shapes, count=count, batch_size=self.batch_size):
                yield Batch(inputs, None)

    def at(self, places: Array) -> dict[str, Array]:
        """The samples at these places of the dataset's split, stacked, by input name; all read at once."""
        if self.samples is None:
            raise DatasetMismatch("There are no samples without a dataset.")
        return next(self.samples.batches(self._split, len(places), within=places)).inputs

    @property
    def _split(self) -> Split:
        return self.split if self.samples and self.samples.has(self.split) else Split.CALIBRATION


def _spread(count: int, whole: int) -> Array | None:
    """`count` positions out of `whole`, evenly spaced: a file may be sorted by class. None for all."""
    return None if count == whole else np.linspace(0, whole - 1, count).astype(np.int64)
