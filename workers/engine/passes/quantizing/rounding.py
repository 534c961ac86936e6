"""Round each layer's weights so that its output errs least on calibration data, not each weight to the nearest level.

The objective is AdaRound's (Nagel, Amjad, van Baalen, Louizos, Blankevoort: Up or Down? Adaptive Rounding for
Post-Training Quantization, ICML 2020, section 3): per output, Δw·E[xxᵀ]·Δwᵀ. It is solved as in OPTQ (Frantar,
Ashkboos, Hoefler, Alistarh, ICLR 2023, section 3): input by input, what rounding one weight brings is made up for by
those that are not rounded yet, along the inverse of E[xxᵀ].
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.engine.graph.graph import Array

DAMPING = 0.01
"""Share of the mean square of the inputs that is added to each: some never differ from zero."""
BLOCK = 128
"""Inputs whose errors are passed on to all later ones at once."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Whole numbers `low` to `high` that stand for (number - zero) · scale, these broadcast to the weights."""

    scale: Floats
    zero: Floats
    low: int
    high: int

    def like(self, weight: Floats) -> "Grid":
        """With a scale and a zero point for each weight."""
        scale, zero = (np.broadcast_to(given, weight.shape) for given in (self.scale, self.zero))
        return Grid(scale, zero, self.low, self.high)

    def at(self, place: int | tuple[slice, int]) -> "Grid":
        """For part of the weights, by an index of arrays."""
        return Grid(self.scale[place], self.zero[place], self.low, self.high)

    def levels(self, weight: Floats) -> Floats:
        """The nearest."""
        return np.asarray(np.rint(weight / self.scale + self.zero).clip(self.low, self.high), np.float32)

    def values(self, levels: Floats) -> Floats:
        return np.asarray((levels - self.zero) * self.scale, np.float32)


@dataclass(frozen=True)
class Rounded:
    """Levels [groups, O, K], and the squared error at the output with the nearest levels and with these."""

    levels: Floats
    before: float
    after: float


@dataclass(frozen=True)
class Learned:
    """Constants of the quantized graph as they are to be, by name, and the error without and with them."""

    constants: dict[str, Array]
    before: float
    after: float


def learn(weight: Floats, grid: Grid, moments: Floats) -> Rounded:
    """Levels for weights [groups, O, K] whose inputs have the second moments [groups, K, K]: the nearest, or better."""
    full = grid.like(weight)
    found = [_better(weight[group], full.at(group), moments[group]) for group in range(len(weight))]
    levels = np.stack([rounded.levels for rounded in found])
    return Rounded(levels, sum(r.before for r in found), sum(r.after for r in found))


def _better(weight: Floats, grid: Grid, moments: Floats) -> Rounded:
    """One group: weights [O, K], moments [K, K]."""
    nearest, learned = grid.levels(weight), _with_feedback(weight, grid, moments)
    before, after = (output_error(grid.values(levels) - weight, moments) for levels in (nearest, learned))
    return Rounded(learned, before, after) if after < before else Rounded(nearest, before, before)


def output_error(difference: Floats, moments: Floats) -> float:
    """The mean squared error, summed over outputs, that a difference [O, K] of weights brings: tr(ΔW·E[xxᵀ]·ΔWᵀ)."""
    return float(((difference @ moments) * difference).sum())


def _with_feedback(weight: Floats, grid: Grid, moments: Floats) -> Floats:
    passing = _passing(moments)
    left, levels = weight.copy(), np.zeros_like(weight)
    for start in range(0, weight.shape[1], BLOCK):
        end = min(start + BLOCK, weight.shape[1])
        errors = np.zeros((len(weight), end - start), np.float32)
        for k in range(start, end):
            column = grid.at((slice(None), k))
            levels[:, k] = column.levels(left[:, k])
            error = (left[:, k] - column.values(levels[:, k])) / passing[k, k]
            left[:, k:end] -= error[:, None] * passing[k, k:end]
            errors[:, k - start] = error
        left[:, end:] -= errors @ passing[start:end, end:]
    return levels


def _passing(moments: Floats) -> Floats:
    """The upper Cholesky factor of the inverse: row k says how the error at input k is made up for by later ones."""
    damped = moments.astype(np.float64)
    mean = float(np.trace(damped)) / len(damped)
    damped[np.diag_indices_from(damped)] += DAMPING * mean if mean else 1.0
    return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T, np.float32)
