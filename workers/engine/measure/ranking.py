"""How well scores put the samples of one class before those of the other."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from whetstone.contract.reports import Estimate
from workers.engine.measure.statistics import INTERVAL

Floats = NDArray[np.float64]


def paired_auc(
    original: Floats, result: Floats, positive: NDArray[np.bool_], confidence: float = INTERVAL
) -> tuple[float, float, Estimate]:
    """The area under the ROC curve of two scores of the same samples, shape [N], and first minus second, from -1 to 1.

    Both classes must be there. The interval is that of DeLong et al. (1988), from the placements of each sample among
    those of the other class, which are computed by ranks (Sun & Xu 2014); equal scores count half.
    """
    (of_positives, of_negatives), (others_positives, others_negatives) = (
        _placements(scores, positive) for scores in (original, result)
    )
    first, second = float(of_positives.mean()), float(others_positives.mean())
    variance = _variance(of_positives - others_positives) + _variance(of_negatives - others_negatives)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * float(np.sqrt(variance))
    drop = first - second
    return first, second, Estimate(value=drop, low=max(-1.0, drop - half), high=min(1.0, drop + half))


def _placements(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Of each positive the share of negatives below it, and of each negative the share of positives above it."""
    ranks = stats.rankdata(scores)
    up, down = scores[positive], scores[~positive]
    below = (ranks[positive] - stats.rankdata(up)) / len(down)
    above = 1 - (ranks[~positive] - stats.rankdata(down)) / len(up)
    return below, above


def _variance(placements: Floats) -> float:
    """Of their mean."""
    return float(placements.var(ddof=1) / len(placements)) if len(placements) > 1 else 0.0
