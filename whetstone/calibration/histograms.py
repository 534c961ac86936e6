"""Ranges of activations from histograms: how many values of a tensor fall where, and which range serves them best.

A histogram has a fixed number of bins, so its memory depends on neither the samples nor the tensor.
"""

from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.quantization import Calibrator

BINS = 2048
LEVELS = 256
MOST_VALUES = 65_536
"""Values of a tensor that are looked at per batch, evenly spaced; the extremes are known from an earlier pass."""
SHARES = np.geomspace(0.01, 1.0, 120)
"""Shares of the whole range that are tried."""
TINY = 1e-12

Counts = NDArray[np.float64]


class Histogram:
    """Counts of values between `low` and `high`, both known before; zero always lies within, as in a quantized type."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = min(low, 0.0), max(high, 0.0)
        self.counts: Counts = np.zeros(BINS)

    @property
    def width(self) -> float:
        return (self.high - self.low) / BINS

    @property
    def centers(self) -> Counts:
        return np.asarray(self.low + self.width * (np.arange(BINS) + 0.5), np.float64)

    def add(self, values: NDArray[Any]) -> None:
        """Count values of any shape; all must be finite."""
        if self.width == 0:
            return
        flat = values.reshape(-1)[:: max(1, values.size // MOST_VALUES)]
        bins = ((flat.astype(np.float64) - self.low) / self.width).astype(np.int64).clip(0, BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)

    def best_range(self, calibrator: Calibrator, percentile: float) -> tuple[float, float]:
        """The range that the calibrator chooses, zero included."""
        if self.width == 0 or not self.counts.any():
            return self.low, self.high
        match calibrator:
            case Calibrator.PERCENTILE:
                return self._by_percentile(percentile)
            case Calibrator.MSE:
                return self._shrunk(min(SHARES, key=self._squared_error))
            case Calibrator.ENTROPY:
                return self._shrunk(min(SHARES, key=self._divergence))
            case Calibrator.MINMAX | Calibrator.MOVING_AVERAGE:
                return self.low, self.high
            case _:
                assert_never(calibrator)

    def _shrunk(self, share: float) -> tuple[float, float]:
        return self.low * float(share), self.high * float(share)

    def _by_percentile(self, percentile: float) -> tuple[float, float]:
        """Leave out the rarest values on each side, (100 - percentile) percent of all."""
        below = np.cumsum(self.counts) / self.counts.sum()
        share = 1 - percentile / 100
        first = int(np.searchsorted(below, share, side="right"))
        last = int(np.searchsorted(below, 1 - share, side="left"))
        return min(self.low + first * self.width, 0.0), max(self.low + (last + 1) * self.width, 0.0)

    def _squared_error(self, share: float) -> float:
        """The mean squared error of clipping to, and rounding within, this share of the range."""
        low, high = self._shrunk(share)
        step = (high - low) / (LEVELS - 1)
        values = self.centers
        rounded = low + step * np.rint((values.clip(low, high) - low) / step)
        return float((self.counts * (values - rounded) ** 2).sum())

    def _divergence(self, share: float) -> float:
        """KL(P || Q): P the values clipped to this share of the range, Q what LEVELS levels can tell of them."""
        low, high = self._shrunk(share)
        inside = (self.centers >= low) & (self.centers <= high)
        if not self.counts[inside].any():
            return float("inf")
        first, last = np.flatnonzero(inside)[[0, -1]]
        kept = self.counts[first : last + 1]
        clipped = kept.copy()
        clipped[0] += self.counts[:first].sum()
        clipped[-1] += self.counts[last + 1 :].sum()
        return _kl(clipped, _leveled(kept))


def _leveled(counts: Counts) -> Counts:
    """The counts after merging bins into LEVELS levels and spreading each level evenly over its occupied bins."""
    level = np.arange(len(counts)) * LEVELS // max(len(counts), LEVELS)
    occupied = counts > 0
    mass = np.bincount(level, counts, LEVELS)
    bins = np.bincount(level, occupied, LEVELS)
    spread = np.divide(mass, bins, out=np.zeros(LEVELS), where=bins > 0)
    return np.where(occupied, spread[level], 0.0)


def _kl(p: Counts, q: Counts) -> float:
    p, q = p / p.sum(), q / q.sum()
    here = p > 0
    return float((p[here] * np.log(p[here] / np.maximum(q[here], TINY))).sum())
