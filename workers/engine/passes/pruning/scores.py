"""How much a weight matters, and how scores of different layers are made comparable."""

from collections.abc import Mapping
from typing import assert_never
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.pruning import Criterion, Normalization
from workers.engine.passes.pruning.magnitude import Floats, Score

Scores = NDArray[np.float64]


def normalized(scores: Scores, how: Normalization) -> Scores:
    """The scores of one layer, made comparable with those of others."""
    match how:
        case Normalization.NONE:
            return scores
        case Normalization.LAYER | Normalization.EQUALIZED:
            mean = scores.mean()
            return scores / mean if mean > 0 else scores
        case Normalization.LAMP:
            return _lamp(scores)
        case _:
            assert_never(how)


def _lamp(scores: Scores) -> Scores:
    """Lee et al. 2021, equation 3: a square over the sum of those that are no smaller."""
    flat = np.square(scores).reshape(-1)
    order = np.argsort(flat, kind="stable")
    rest = np.cumsum(flat[order][::-1])[::-1]
    found = np.zeros_like(flat)
    found[order] = np.divide(flat[order], rest, out=np.zeros_like(flat), where=rest > 0)
    return found.reshape(scores.shape)


def random_scores(seed: int, name: str, shape: tuple[int, ...]) -> Scores:
    """In (0, 1), the same for the same seed and name."""
    return 1 - np.random.default_rng([seed, crc32(name.encode())]).random(shape)


def weight_score(
    criterion: Criterion, how: Normalization, seed: int, changes: Mapping[str, Floats] | None = None
) -> Score:
    """The score of single weights; `changes` are the |gradient · weight| that `taylor` wants."""

    def raw(name: str, weights: Floats) -> Scores:
        match criterion:
            case Criterion.L1:
                return np.abs(weights.astype(np.float64))
            case Criterion.L2:
                return np.square(weights.astype(np.float64))
            case Criterion.TAYLOR:
                return np.where(weights != 0, (changes or {})[name], 0).astype(np.float64)
            case Criterion.RANDOM:
                return np.where(weights != 0, random_scores(seed, name, weights.shape), 0)
            case Criterion.BATCH_NORM:
                raise AssertionError(criterion)  # refused by the contract: single weights have no scale behind them
            case _:
                assert_never(criterion)

    return lambda name, weights: normalized(raw(name, weights), how).astype(np.float32)
