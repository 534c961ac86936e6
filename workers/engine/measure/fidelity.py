"""How close the outputs of result and original are on the same inputs, fed batch by batch; needs no labels."""

import math

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.failures import FailureCode
from whetstone.contract.metrics import Metric
from whetstone.contract.reports import Fidelity
from workers.engine.data.errors import DatasetMismatch
from workers.engine.errors import EngineError
from workers.engine.measure.decision import decision_output, sequence_output
from workers.engine.measure.statistics import scaled, wilson
from workers.engine.targets.runtime import Array, Arrays

PERCENT = 100
TINY = float(np.finfo(np.float64).tiny)


class NotFinite(EngineError):
    """The result gives NaN or infinite values where the original gives numbers."""

    code = FailureCode.RESULT_MISMATCH


class ShapesDiffer(EngineError):
    """The result's outputs have other shapes than the original's on the same inputs."""

    code = FailureCode.RESULT_MISMATCH


class NoDecision(DatasetMismatch):
    """The metric counts decisions, and the outputs have none of that kind."""

    hint = "`agreement` needs an output [N, classes], `positions` one of [N, T, classes]; or choose `cosine`."


class FidelityMeter:
    """Compares all outputs; the first of shape [N, classes] is taken for the decision.

    With the metric `positions` it is the first of shape [N, T, ..., classes], which decides at each position; with
    `cosine` there is none, as entries of an embedding are no classes.
    """

    def __init__(self, *, synthetic: bool, metric: Metric | None = None) -> None:
        self._synthetic, self._metric = synthetic, metric
        self._samples = self._decided = 0
        self._agreed = 0.0
        self._cosines: list[float] = []
        self._signal = self._noise = self._max_abs_error = 0.0

    def add(self, original: Arrays, result: Arrays, samples: int) -> None:
        """Raises: NotFinite, ShapesDiffer."""
        self._samples += samples
        for name, expected in original.items():
            reference, got = comparable(name, expected, result[name])
            self._compare(reference, got, samples)
        find = sequence_output if self._metric is Metric.POSITIONS else decision_output
        decision = None if self._metric is Metric.COSINE else find(original, samples)
        if decision is not None:
            same = original[decision].argmax(axis=-1) == result[decision].argmax(axis=-1)
            self._decided += samples
            self._agreed += float(same.reshape(samples, -1).mean(axis=1).sum())

    def fidelity(self) -> Fidelity:
        """The interval of `agreement` is that of as many yes or no as there are samples: of shares in between, whose
        positions may depend on each other, it is wide enough.

        Raises: NoDecision, where the metric needs one.
        """
        if self._metric in {Metric.AGREEMENT, Metric.POSITIONS} and not self._decided:
            raise NoDecision(f"No output of the model decides as the metric `{self._metric}` needs it.")
        return Fidelity(
            samples=self._samples,
            synthetic_inputs=self._synthetic,
            agreement=scaled(wilson(self._agreed, self._decided), PERCENT) if self._decided else None,
            cosine=math.fsum(self._cosines) / len(self._cosines),
            sqnr_db=10 * math.log10(max(self._signal, TINY) / self._noise) if self._noise else None,
            max_abs_error=self._max_abs_error,
        )

    def _compare(self, reference: NDArray[np.float64], got: NDArray[np.float64], samples: int) -> None:
        error = reference - got
        self._signal += float((reference**2).sum())
        self._noise += float((error**2).sum())
        self._max_abs_error = max(self._max_abs_error, float(np.abs(error).max(initial=0)))
        self._cosines += _cosines(reference, got, samples)


def comparable(name: str, expected: Array, got: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arrays as float64 of one shape, with zeros where the expected value is no number and so is the other.

    A mask of -inf, say, is a value that both must have; it has no distance.

    Raises: ShapesDiffer, NotFinite.
    """
    if expected.shape != got.shape:
        raise ShapesDiffer(f"Output '{name}' has shape {list(got.shape)} instead of {list(expected.shape)}.")
    left, right = expected.astype(np.float64), got.astype(np.float64)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    void = same & ~np.isfinite(left)
    left[void] = right[void] = 0
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        raise NotFinite(
            f"Output '{name}' holds NaN or infinite values where the model it is compared with has numbers."
        )
    return left, right


def _cosines(left: NDArray[np.float64], right: NDArray[np.float64], samples: int) -> list[float]:
    """The cosine similarity of each sample; of the whole where the first axis does not count samples."""
    rows = samples if left.ndim and len(left) == samples else 1
    one, other = left.reshape(rows, -1), right.reshape(rows, -1)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    dots = (one * other).sum(axis=1)
    equal = (one == other).all(axis=1)
    return [float(c) for c in np.where(equal, 1.0, dots / np.where(norms > 0, norms, 1.0))]
