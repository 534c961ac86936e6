"""Finding and zeroing the weights of the lowest scores, one layer in memory at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.pruning import Scope

Floats = NDArray[np.float32]
Score = Callable[[str, Floats], Floats]
"""Of each weight of a layer, by the layer's name: how much it matters, at least 0, and 0 for a weight that is zero."""

HALF = 16
BINS = 2**HALF


@dataclass(frozen=True)
class Store:
    """Weights by name, wherever they are kept: `read` gives an array that may be changed, `write` takes it back."""

    names: tuple[str, ...]
    read: Callable[[str], Floats]
    write: Callable[[str, Floats], None]


def _bits(scores: Floats) -> NDArray[np.uint32]:
    """Non-negative floats of IEEE 754 are ordered as their bit patterns are."""
    return np.ascontiguousarray(scores, np.float32).reshape(-1).view(np.uint32)


def kth_smallest(scores: Callable[[], Iterable[Floats]], count: int) -> np.float32:
    """The value of the `count`-th smallest score (from 1) over all arrays that `scores` gives, when called anew.

    Counts the upper and then the lower halves of the bit patterns: two histograms of 65,536 bins, however many
    scores there are.
    """
    high = np.zeros(BINS, np.int64)
    for array in scores():
        high += np.bincount(_bits(array) >> HALF, minlength=BINS)
    upper = int(np.searchsorted(np.cumsum(high), count))
    low = np.zeros(BINS, np.int64)
    for array in scores():
        bits = _bits(array)
        low += np.bincount(bits[bits >> HALF == upper] & (BINS - 1), minlength=BINS)
    lower = int(np.searchsorted(np.cumsum(low), count - int(high[:upper].sum())))
    return np.float32(np.array([(upper << HALF) | lower], np.uint32).view(np.float32)[0])


def _zero_below(store: Store, names: tuple[str, ...], sparsity: float, score: Score) -> None:
    total = sum(store.read(name).size for name in names)
    count = round(sparsity * total)
    if count == 0:
        return
    limit = kth_smallest(lambda: (score(name, store.read(name)) for name in names), count)
    below = sum(int((score(name, store.read(name)) < limit).sum()) for name in names)
    ties = count - below
    for name in names:
        weights = store.read(name)
        scores = score(name, weights).reshape(-1)
        equal = np.flatnonzero(scores == limit)[:ties]
        ties -= len(equal)
        weights[(scores < limit).reshape(weights.shape)] = 0
        weights.reshape(-1)[equal] = 0
        store.write(name, weights)


def zero_smallest(store: Store, sparsity: float, score: Score, scope: Scope) -> None:
    """Set exactly round(sparsity · n) weights to zero: over all layers together, or in each layer.

    Weights that are zero already count, so a sparsity that rises never brings one back.
    """
    match scope:
        case Scope.GLOBAL:
            _zero_below(store, store.names, sparsity, score)
        case Scope.LAYER:
            for name in store.names:
                _zero_below(store, (name,), sparsity, score)
        case _:
            assert_never(scope)


def zero_pattern(store: Store, axes: dict[str, int], pattern: str, score: Score) -> None:
    """Of every M weights in a row along an axis, keep the N of the highest scores: `2:4`, `4:8`.

    The length of the axis must be a multiple of M.
    """
    keep, of = map(int, pattern.split(":"))
    for name in store.names:
        weights = store.read(name)
        rows = np.moveaxis(score(name, weights), axes[name], -1)
        blocks = rows.reshape(*rows.shape[:-1], -1, of)
        order = np.argsort(blocks, axis=-1, kind="stable")
        gone = np.zeros(blocks.shape, bool)
        np.put_along_axis(gone, order[..., : of - keep], True, -1)  # noqa: FBT003 - the value to put
        weights[np.moveaxis(gone.reshape(rows.shape), -1, axes[name])] = 0
        store.write(name, weights)
