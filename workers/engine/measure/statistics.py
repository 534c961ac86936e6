"""Intervals that assume as little as possible: order statistics, adjusted proportions, the bootstrap."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from whetstone.contract.reports import Estimate, Percentile

Floats = NDArray[np.float64]

INTERVAL = 0.95
CLAIM = 0.99
"""How sure one must be that a percentile is not above the second largest sample before it is printed at all."""

RESAMPLES = 2000
GROUPS = 1000


@cache
def needed_samples(percent: float, over: int = 1) -> int:
    """The fewest samples that allow a claim about a percentile, with so many above it and 99 % confidence.

    The number of samples above the true percentile is binomial; at most `over` of n must be an unlikely event. This is
    the early-stopping rule of MLPerf's LoadGen (11 for p50, 64 for p90, 662 for p99 with one above).
    """
    samples = max(over + 1, int(over / (1 - percent / 100)))
    while not is_within(over, samples, percent):
        samples += 1
    return samples


def is_within(over: int, count: int, percent: float) -> bool:
    """Whether it can be claimed that a percentile is below a bound which `over` of `count` samples are above.

    So few would have to be an unlikely event if it were not: the same rule as in `needed_samples`.
    """
    return float(stats.binom.cdf(over, count, 1 - percent / 100)) <= 1 - CLAIM


def percentile(samples: Floats, percent: float) -> Percentile | None:
    """A percentile with its distribution-free 95 % interval; None when there are too few samples to claim it."""
    if len(samples) < needed_samples(percent):
        return None
    low, high = quantile_ranks(len(samples), percent / 100)
    ordered = np.sort(samples)
    value = float(np.quantile(ordered, percent / 100, method="inverted_cdf"))
    return Percentile(percent=percent, ms=value, low_ms=float(ordered[low]), high_ms=float(ordered[high]))


@cache
def quantile_ranks(count: int, quantile: float, confidence: float = INTERVAL) -> tuple[int, int]:
    """Indices into the sorted samples whose values enclose the true quantile.

    The number of samples below it is binomial whatever the distribution (David & Nagaraja, Order Statistics, 7.1).
    With too few samples these are the first and the last, which enclose it with less than the asked confidence:
    see `coverage`.
    """
    tail = (1 - confidence) / 2
    low = int(stats.binom.ppf(tail, count, quantile)) - 1
    high = int(stats.binom.ppf(1 - tail, count, quantile))
    return max(low, 0), min(high, count - 1)


def coverage(count: int, quantile: float, low: int, high: int) -> float:
    """The probability that the samples at two sorted indices enclose the true quantile."""
    return float(stats.binom.cdf(high, count, quantile) - stats.binom.cdf(low, count, quantile))


def median_interval(values: Sequence[float], confidence: float = INTERVAL) -> Estimate:
    """The median with its distribution-free interval.

    Below six values no interval reaches 95 %; then this is their range, and `confidence` says what it is worth.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    low, high = quantile_ranks(len(ordered), 0.5, confidence)
    return Estimate(
        value=float(np.median(ordered)),
        low=float(ordered[low]),
        high=float(ordered[high]),
        confidence=min(confidence, coverage(len(ordered), 0.5, low, high)),
    )


def wilson(successes: float, count: int, confidence: float = INTERVAL) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927), from 0 to 1."""
    z = _z(confidence)
    share = successes / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * float(np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)))
    # Rounding may leave the ends beside 0, 1 or the share itself by one unit in the last place.
    low, high = min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))
    return Estimate(value=share, low=low, high=high, confidence=confidence)


def paired_difference(only_first: int, only_second: int, count: int, confidence: float = INTERVAL) -> Estimate:
    """First minus second proportion on the same `count` samples, from -1 to 1.

    `only_first` and `only_second` count the samples that just one of them got right. The interval is the adjusted
    Wald interval of Bonett & Price (2012, equation 9): one imaginary sample is added to either discordant cell.
    """
    first, second = (only_first + 1) / (count + 2), (only_second + 1) / (count + 2)
    centre = first - second
    half = _z(confidence) * float(np.sqrt((first + second - centre**2) / (count + 2)))
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return Estimate(value=(only_first - only_second) / count, low=low, high=high, confidence=confidence)


def paired_rise(original: Floats, result: Floats, seed: int = 0, confidence: float = INTERVAL) -> Estimate:
    """How much larger the mean error of the result is, in percent of the original's, by a paired bootstrap.

    `original` and `result` are the errors of the same samples, shape [N], none negative. Pairs are drawn together
    (Efron & Tibshirani 1993, chapter 8); beyond `GROUPS` of them, sums of neighbours are, which costs less and
    says the same of independent samples. Where the original has no error at all, any error counts as 100 percent.
    """
    pairs = _grouped(np.stack([original, result], axis=1))
    drawn = np.random.default_rng(seed).multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), RESAMPLES)
    rises = _percent_rise(drawn @ pairs)
    low, high = np.quantile(rises, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = float(_percent_rise(pairs.sum(axis=0, keepdims=True))[0])
    return Estimate(value=value, low=min(value, float(low)), high=max(value, float(high)), confidence=confidence)


def scaled(estimate: Estimate, factor: float, shift: float = 0.0) -> Estimate:
    """`shift + factor × estimate`; a negative factor turns the interval around."""
    ends = sorted(shift + factor * end for end in (estimate.low, estimate.high))
    value = shift + factor * estimate.value
    return Estimate(value=value, low=ends[0], high=ends[1], confidence=estimate.confidence)


def _grouped(pairs: Floats) -> Floats:
    if len(pairs) <= GROUPS:
        return pairs
    return np.stack([group.sum(axis=0) for group in np.array_split(pairs, GROUPS)])


def _percent_rise(sums: Floats) -> Floats:
    """Of rows of (original, result)."""
    original, result = sums.T
    flawless = np.where(result > 0, 100.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(original > 0, 100 * (result / original - 1), flawless), dtype=np.float64)


def _z(confidence: float) -> float:
    return float(stats.norm.ppf((1 + confidence) / 2))
