"""What both sides decide of each sample, and how sure they are of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from whetstone.contract.insights import Calibration, CalibrationBin, Reliability
from whetstone.contract.metrics import Metric
from workers.engine.data.samples import Batch
from workers.engine.measure.decision import MIDDLE, TWO_CLASSES, Decision, class_decision, decision_output
from workers.engine.measure.feed import Feed
from workers.engine.measure.reading import Reading
from workers.engine.measure.statistics import Floats
from workers.engine.targets.runtime import Array, Arrays

Ints = NDArray[np.integer]

BINS = 15
"""As many as Guo et al. have."""

ROUNDING = 1e-3
"""How far the probabilities of a sample may be from one in sum."""


@dataclass(frozen=True)
class Opinion:
    """One side on the samples, shape [N] each: what it decides, the probability it gives to that, and the one it gives
    to the label or, without labels, to what the original decides.
    """

    decided: Ints
    confidence: Floats
    expected: Floats


@dataclass(frozen=True)
class Debate:
    """Both sides on the same samples; `labels` has shape [N] where there are some."""

    labels: Ints | None
    original: Opinion
    result: Opinion
    decision: Decision

    def worst(self, most: int) -> Ints:
        """The places of at most so many samples that are decided otherwise, and wrongly, as far as labels tell: those
        first to whose label the result gives less than the original did.
        """
        changed = self.original.decided != self.result.decided
        if self.labels is not None:
            changed &= self.result.decided != self.labels
        places = np.flatnonzero(changed)
        lost = self.original.expected[places] - self.result.expected[places]
        return places[np.argsort(-lost, kind="stable")[:most]]

    def calibration(self) -> Calibration | None:
        """Needs labels."""
        if self.labels is None:
            return None
        return Calibration(
            samples=len(self.labels),
            original=reliability(self.original.confidence, self.original.decided == self.labels),
            result=reliability(self.result.confidence, self.result.decided == self.labels),
        )


def reliability(confidence: Floats, right: Array) -> Reliability:
    """Of samples in `BINS` bins of the same width, (0, 1/15], (1/15, 2/15], … (Guo et al. 2017, section 2).

    Both have shape [N].
    """
    bins = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1)
    found = tuple(
        CalibrationBin(
            samples=int(within.sum()),
            confidence=float(confidence[within].mean()),
            accuracy=float(right[within].mean()),
        )
        for within in (bins == place for place in np.unique(bins))
    )
    error = sum(each.samples * abs(each.accuracy - each.confidence) for each in found) / len(confidence)
    return Reliability(error=min(1.0, error), bins=found)


class Opinions:
    """Gathers opinions batch by batch; there are none where outputs are no decision between classes."""

    def __init__(self, feed: Feed, reading: Reading) -> None:
        labels = feed.labels if reading.by_labels else None
        self._reading = reading
        self._floats = labels is not None and labels.dtype.kind == "f"
        self._classes = TWO_CLASSES if labels is None or self._floats else max(TWO_CLASSES, int(labels.max()) + 1)
        self._labelled = labels is not None
        self._decision: Decision | None = None
        self._are_probabilities = False
        self._parts: list[tuple[Ints, Opinion, Opinion]] = []

    def add(self, original: Arrays, result: Arrays, batch: Batch) -> None:
        decision = self._decision or self._first(original, batch.size)
        if decision is None:
            return
        before, after = (self._probabilities(decision, outputs) for outputs in (original, result))
        decided = decision.of(original)
        expected = np.asarray(batch.labels, np.int64) if self._labelled else decided
        told = decision.of(result)
        first = Opinion(decided, _at(before, decided), _at(before, expected))
        self._parts.append((expected, first, Opinion(told, _at(after, told), _at(after, expected))))

    def debate(self) -> Debate | None:
        if self._decision is None:
            return None
        expected, original, result = zip(*self._parts, strict=True)
        labels = np.concatenate(expected) if self._labelled else None
        return Debate(labels, _joined(original), _joined(result), self._decision)

    def _first(self, outputs: Arrays, samples: int) -> Decision | None:
        """Find what decides, and how its numbers are to be read, from one batch of the original's outputs."""
        self._decision = self._found(outputs, samples)
        if self._decision is not None:
            array, likely = (
                outputs[self._decision.output],
                self._reading.thresholds.get(self._decision.output) == MIDDLE,
            )
            sums = array.sum(axis=-1, dtype=np.float64)
            shares = self._decision.threshold is None and bool(
                (array >= 0).all() and np.allclose(sums, 1, atol=ROUNDING)
            )
            self._are_probabilities = likely or shares
        return self._decision

    def _found(self, outputs: Arrays, samples: int) -> Decision | None:
        if self._labelled:
            mean = self._floats or self._reading.metric is Metric.MSE
            return None if mean else class_decision(outputs, samples, self._classes, self._reading.thresholds)
        if self._reading.without_labels not in {None, Metric.AGREEMENT}:
            return None
        wide = decision_output(outputs, samples)
        return None if wide is None else Decision(wide)

    def _probabilities(self, decision: Decision, outputs: Arrays) -> Floats:
        """Of each class, shape [N, classes]. A runtime may be off by a little, so they are clipped."""
        array = outputs[decision.output].astype(np.float64)
        if decision.threshold is not None:
            array = array.reshape(len(array), 1)
            second = array if self._are_probabilities else special.expit(array)
            array = np.concatenate([1 - second, second], axis=1)
        elif not self._are_probabilities:
            array = special.softmax(array, axis=1)
        return np.asarray(np.clip(array, 0, 1))


def _at(likely: Floats, classes: Ints) -> Floats:
    return np.asarray(np.take_along_axis(likely, classes[:, None], axis=1)[:, 0])


def _joined(parts: tuple[Opinion, ...]) -> Opinion:
    return Opinion(
        np.concatenate([part.decided for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.expected for part in parts]),
    )
