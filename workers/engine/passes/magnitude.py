"""Finding and zeroing the weights of least magnitude, one layer in memory at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.pruning import Criterion, Scope

Floats = NDArray[np.float32]

HALF = 16
BINS = 2**HALF


@dataclass(frozen=True)
class Store:
    """Weights by name, wherever they are kept: `read` gives an array that may be changed, `write` takes it back."""

    names: tuple[str, ...]
    read: Callable[[str], Floats]
    write: Callable[[str, Floats], None]


def importance(weights: Floats, criterion: Criterion) -> Floats:
    """How much a weight matters: |w| or w².

    For single weights both give the same order (but for squares below the smallest float); they differ once the
    weights of a group are added up.
    """
    match criterion:
        case Criterion.L1:
            return np.abs(weights)
        case Criterion.L2:
            return np.square(weights)
        case _:
            assert_never(criterion)


def _bits(scores: Floats) -> NDArray[np.uint32]:
    """Non-negative floats of IEEE 754 are ordered as their bit patterns are."""
    return np.ascontiguousarray(scores).reshape(-1).view(np.uint32)


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


def _zero_below(store: Store, names: tuple[str, ...], sparsity: float, criterion: Criterion) -> None:
    total = sum(store.read(name).size for name in names)
    count = round(sparsity * total)
    if count == 0:
        return
    limit = kth_smallest(lambda: (importance(store.read(name), criterion) for name in names), count)
    below = sum(int((importance(store.read(name), criterion) < limit).sum()) for name in names)
    ties = count - below
    for name in names:
        weights = store.read(name)
        scores = importance(weights, criterion).reshape(-1)
        equal = np.flatnonzero(scores == limit)[:ties]
        ties -= len(equal)
        weights[(scores < limit).reshape(weights.shape)] = 0
        weights.reshape(-1)[equal] = 0
        store.write(name, weights)


def zero_smallest(store: Store, sparsity: float, criterion: Criterion, scope: Scope) -> None:
    """Set exactly round(sparsity · n) weights to zero: over all layers together, or in each layer.

    Weights that are zero already count, so a sparsity that rises never brings one back.
    """
    match scope:
        case Scope.GLOBAL:
            _zero_below(store, store.names, sparsity, criterion)
        case Scope.LAYER:
            for name in store.names:
                _zero_below(store, (name,), sparsity, criterion)
        case _:
            assert_never(scope)
