"""Atoms: what an index along an axis is made of. Tied atoms are kept or cut together.

Every index along an axis that may be cut carries the number of an atom. Operators only say which atoms of their inputs
and outputs are the same channel; what belongs together then follows as the connected components of those ties.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Atoms = NDArray[np.int64]
Labels = NDArray[np.int64]
"""Per atom the number of its component."""


class Ties:
    """The atoms of a graph, which of them are the same, and which may not be cut, each with a reason."""

    def __init__(self) -> None:
        self.count = 0
        self._pairs: list[tuple[Atoms, Atoms]] = []
        self._fixed: list[tuple[Atoms, str]] = []
        self._labels: Labels | None = None

    def new(self, length: int) -> Atoms:
        """Atoms of their own for an axis of this length."""
        self.count += length
        self._labels = None
        return np.arange(self.count - length, self.count, dtype=np.int64)

    def tie(self, left: Atoms, right: Atoms) -> None:
        """Say that the atoms of two arrays, broadcast against each other, are the same channels."""
        a, b = np.broadcast_arrays(left, right)
        differ = a != b
        if differ.any():
            self._pairs.append((a[differ], b[differ]))
            self._labels = None

    def fix(self, atoms: Atoms, reason: str) -> None:
        """Say that these channels must stay; `reason` completes "left alone because"."""
        self._fixed.append((np.unique(atoms), reason))

    def labels(self) -> Labels:
        """The component of every atom."""
        if self._labels is None:
            pairs = self._pairs or [(np.zeros(0, np.int64),) * 2]
            rows, columns = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
            links = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(self.count, self.count))
            self._labels = connected_components(links, directed=False)[1].astype(np.int64)
        return self._labels

    def fixed(self) -> dict[int, str]:
        """The components that must stay, each with the first reason that was given."""
        labels = self.labels()
        found: dict[int, str] = {}
        for atoms, reason in self._fixed:
            for label in np.unique(labels[atoms]):
                found.setdefault(int(label), reason)
        return found


def spread(atoms: Atoms, shape: tuple[int, ...]) -> Atoms:
    """Atoms at every element of a tensor of this shape."""
    return np.ascontiguousarray(np.broadcast_to(atoms, shape))


def compact(atoms: Atoms) -> Atoms:
    """The same atoms, with length 1 along each axis that does not tell them apart."""
    for axis in range(atoms.ndim):
        first = atoms.take([0], axis)
        if atoms.shape[axis] > 1 and (atoms == first).all():
            atoms = first
    return atoms


def carried(atoms: Atoms) -> tuple[int, ...]:
    """The axes along which the atoms differ."""
    return tuple(axis for axis, length in enumerate(atoms.shape) if length > 1)
