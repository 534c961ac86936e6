"""Known values from the literature, and coverage by simulation: an interval is only worth what it covers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from whetstone.contract.reports import Estimate
from workers.engine.measure.statistics import (
    GROUPS,
    coverage,
    median_interval,
    needed_samples,
    paired_difference,
    paired_rise,
    percentile,
    quantile_ranks,
    scaled,
    wilson,
)

TRIALS = 1000


def covered(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


@pytest.mark.parametrize(("percent", "samples"), [(50, 11), (90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_needed_samples_are_those_of_mlperf(percent: float, samples: int) -> None:
    assert needed_samples(percent) == samples


def test_a_percentile_is_withheld_until_it_can_be_claimed() -> None:
    assert percentile(np.arange(63.0), 90) is None
    assert percentile(np.arange(64.0), 90) is not None


def test_percentile_and_its_interval_are_samples() -> None:
    found = percentile(np.arange(1000.0)[::-1], 90)
    assert found is not None
    assert (found.ms, found.low_ms, found.high_ms) == (899, 880, 918)


def test_median_ranks_are_those_of_the_sign_test_tables() -> None:
    # of 11 samples the 2nd and the 10th, of 20 the 6th and the 15th (Conover, Practical Nonparametric Statistics, A3)
    assert quantile_ranks(11, 0.5) == (1, 9)
    assert quantile_ranks(20, 0.5) == (5, 14)


@pytest.mark.parametrize(("count", "confidence"), [(1, 0.0), (2, 0.5), (5, 0.9375), (6, 0.95), (50, 0.95)])
def test_too_few_values_give_their_range_and_say_what_it_is_worth(count: int, confidence: float) -> None:
    found = median_interval([float(value) for value in range(count)])
    assert found.confidence == pytest.approx(confidence)
    if count <= 6:
        assert (found.low, found.high) == (0, count - 1)


def test_the_median_interval_covers() -> None:
    generator = np.random.default_rng(1)
    draws = generator.lognormal(sigma=1, size=(TRIALS, 25))
    assert np.mean([covered(median_interval(draw.tolist()), 1.0) for draw in draws]) >= 0.95 - 0.015


def test_the_percentile_interval_covers() -> None:
    generator = np.random.default_rng(2)
    truth = stats.expon.ppf(0.9)
    hits = 0
    for draw in generator.exponential(size=(TRIALS, 200)):
        found = percentile(draw, 90)
        assert found is not None
        hits += found.low_ms <= truth <= found.high_ms
    assert hits / TRIALS >= 0.95 - 0.015


@given(st.integers(2, 300), st.floats(0.01, 0.99))
def test_ranks_have_the_confidence_they_are_asked_for(count: int, quantile: float) -> None:
    low, high = quantile_ranks(count, quantile)
    assert 0 <= low <= high < count
    clipped = low == 0 or high == count - 1
    assert clipped or coverage(count, quantile, low, high) >= 0.95


@pytest.mark.parametrize(("successes", "count"), [(8, 10), (0, 10), (10, 10), (197, 200), (1, 1)])
def test_wilson_is_that_of_scipy(successes: int, count: int) -> None:
    reference = stats.binomtest(successes, count).proportion_ci(method="wilson")
    found = wilson(successes, count)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))


def test_bonett_price_on_the_airway_data() -> None:
    # Fagerland, Lydersen & Laake 2014, table 6: 21 children, 1 and 7 discordant; adjusted Wald -0.508 to -0.013
    found = paired_difference(1, 7, 21)
    assert (found.value, found.low, found.high) == pytest.approx((-0.2857, -0.508, -0.013), abs=5e-4)


@pytest.mark.parametrize(("both", "first", "second"), [(0.85, 0.06, 0.02), (0.9, 0.005, 0.005), (0.5, 0.3, 0.1)])
@pytest.mark.parametrize("count", [50, 500])
def test_the_paired_difference_covers(both: float, first: float, second: float, count: int) -> None:
    generator = np.random.default_rng(3)
    cells = generator.multinomial(count, [both, first, second, 1 - both - first - second], size=TRIALS)
    found = [paired_difference(int(cell[1]), int(cell[2]), count) for cell in cells]
    assert np.mean([covered(estimate, first - second) for estimate in found]) >= 0.95 - 0.02


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_intervals_hold_their_value(first: int, second: int, rest: int) -> None:
    count = first + second + rest or 1
    for found in (paired_difference(first, second, count) if first + second + rest else None, wilson(rest, count)):
        assert found is None or found.low <= found.value <= found.high


def test_the_bootstrapped_rise_covers() -> None:
    generator = np.random.default_rng(4)
    hits = 0
    for _ in range(200):
        original = generator.exponential(1.0, 60)
        result = original * 1.1 + generator.exponential(0.1, 60)  # its mean is 1.2
        hits += covered(paired_rise(original, result), 20.0)
    assert hits / 200 >= 0.90


def test_a_rise_is_the_same_for_the_same_samples() -> None:
    errors = np.random.default_rng(5).exponential(size=(2, 400))
    assert paired_rise(*errors) == paired_rise(*errors)
    assert paired_rise(*errors, seed=1) != paired_rise(*errors)


def test_many_samples_are_drawn_in_groups_to_the_same_effect() -> None:
    errors = np.random.default_rng(6).exponential(size=(2, 5 * GROUPS))
    few: NDArray[np.float64] = errors[:, :GROUPS]
    whole, part = paired_rise(*errors), paired_rise(*few)
    assert whole.value == pytest.approx(100 * (errors[1].mean() / errors[0].mean() - 1))
    assert (part.high - part.low) / (whole.high - whole.low) == pytest.approx(5**0.5, rel=0.2)


def test_any_error_is_all_of_it_where_the_original_has_none() -> None:
    none, some = np.zeros(10), np.ones(10)
    assert paired_rise(none, none).value == 0
    assert paired_rise(none, some).value == 100


def test_a_negative_factor_turns_the_interval_around() -> None:
    assert scaled(Estimate(value=97, low=95, high=98), -1, shift=100) == Estimate(value=3, low=2, high=5)
