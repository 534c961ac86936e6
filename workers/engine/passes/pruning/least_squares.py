"""Least squares, from sums that are gathered batch by batch: min ‖X W - Y‖² + λ ‖W - W₀‖²."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.graph import Array
from workers.engine.graph.ops.node import Node

Rows = NDArray[np.float64]

RIDGE = 1e-3
"""λ as a share of the mean square of a feature: so little data moves the weights little."""


@dataclass
class Sums:
    """XᵀX [F, F], XᵀY [F, O] and ΣY² over rows: all that a fit and its error need, whatever the number of rows."""

    features: int
    outputs: int
    square: Rows = field(init=False)
    cross: Rows = field(init=False)
    energy: float = 0.0
    rows: int = 0

    def __post_init__(self) -> None:
        self.square = np.zeros((self.features, self.features))
        self.cross = np.zeros((self.features, self.outputs))

    def add(self, x: Array, y: Array) -> None:
        """Rows x [R, F] with y [R, O]."""
        wide, target = x.astype(np.float64), y.astype(np.float64)
        self.square += wide.T @ wide
        self.cross += wide.T @ target
        self.energy += float(np.square(target).sum())
        self.rows += len(x)

    def error(self, weight: Rows) -> float:
        """‖X W - Y‖² as a share of ‖Y‖²."""
        moved = float((weight * (self.square @ weight)).sum() - 2 * (weight * self.cross).sum()) + self.energy
        return max(moved, 0.0) / max(self.energy, 1e-30)


def fit(sums: Sums, start: Rows) -> Rows:
    """The weights W [F, O] that best give Y, near those to start from."""
    ridge = RIDGE * max(float(np.trace(sums.square)) / sums.features, 1e-12)
    left = sums.square + ridge * np.eye(sums.features)
    return start + np.linalg.solve(left, sums.cross - sums.square @ start)


def _lengths(node: Node, name: str, rank: int, default: int) -> list[int]:
    return [int(value) for value in node.get(name, [default] * rank)]


def windows(node: Node, x: Array, kernel: tuple[int, ...]) -> Array:
    """What a convolution sees: [N, C, *size] → [N, positions, C · window]; one or two spatial axes."""
    values = torch.from_numpy(np.array(x))
    rank = values.dim() - 2
    pads = _lengths(node, "pads", 2 * rank, 0)
    padding = [pad for axis in reversed(range(rank)) for pad in (pads[axis], pads[axis + rank])]
    values = F.pad(values, padding)
    strides, dilations = _lengths(node, "strides", rank, 1), _lengths(node, "dilations", rank, 1)
    if rank == 1:
        values, kernel = values.unsqueeze(2), (1, *kernel)
        strides, dilations = [1, *strides], [1, *dilations]
    return np.asarray(
        F.unfold(values, kernel, dilation=tuple(dilations), stride=tuple(strides)).transpose(1, 2).numpy()
    )


def with_one(x: Array) -> Array:
    """A column of ones behind the features, for a bias."""
    return np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1)
