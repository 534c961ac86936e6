"""Ranges chosen from histograms: against known answers."""

import numpy as np
import pytest

from whetstone.calibration.histograms import BINS, MOST_VALUES, Histogram
from whetstone.contract.quantization import Calibrator

ALL = 100.0


def filled(values: np.ndarray) -> Histogram:
    histogram = Histogram(float(values.min()), float(values.max()))
    for part in np.array_split(values, 10):
        histogram.add(part)
    return histogram


def error_of(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    return float(((low + step * np.rint((values.clip(low, high) - low) / step) - values) ** 2).mean())


@pytest.fixture(scope="module")
def long_tailed() -> np.ndarray:
    values = np.random.default_rng(0).standard_normal(200_000)
    values[:20] *= 40  # a few values far out
    return values


def test_counts_do_not_depend_on_how_values_come() -> None:
    values = np.random.default_rng(0).uniform(-1, 3, 5000)
    whole = Histogram(-1, 3)
    whole.add(values)
    parts = Histogram(-1, 3)
    for part in np.split(values, 50):
        parts.add(part.reshape(10, 10))
    assert np.array_equal(whole.counts, parts.counts)
    assert whole.counts.sum() == 5000
    assert len(whole.counts) == BINS


def test_a_large_tensor_is_sampled_evenly() -> None:
    histogram = Histogram(0, 1)
    histogram.add(np.linspace(0, 1, 50 * MOST_VALUES))
    assert MOST_VALUES <= histogram.counts.sum() <= 2 * MOST_VALUES
    assert histogram.counts.max() <= 2 * histogram.counts.min()


def test_zero_is_always_within() -> None:
    for low, high in ((2.0, 5.0), (-5.0, -2.0)):
        histogram = Histogram(low, high)
        histogram.add(np.linspace(low, high, 100))
        for calibrator in Calibrator:
            first, last = histogram.best_range(calibrator, 99.0)
            assert first <= 0 <= last


def test_percentile_leaves_out_the_rarest() -> None:
    low, high = filled(np.linspace(-1, 1, 100_001)).best_range(Calibrator.PERCENTILE, 95)
    assert (low, high) == (pytest.approx(-0.9, abs=0.01), pytest.approx(0.9, abs=0.01))
    low, high = filled(np.linspace(0, 1, 100_001)).best_range(Calibrator.PERCENTILE, 99)
    assert (low, high) == (pytest.approx(0, abs=0.011), pytest.approx(0.99, abs=0.01))


@pytest.mark.parametrize("calibrator", [Calibrator.ENTROPY, Calibrator.PERCENTILE])
def test_a_long_tail_is_cut(long_tailed: np.ndarray, calibrator: Calibrator) -> None:
    low, high = filled(long_tailed).best_range(calibrator, 99.99)
    assert -12 < low < -2.5
    assert 2.5 < high < 12


def test_mse_is_better_than_all_of_the_range_and_than_much_less(long_tailed: np.ndarray) -> None:
    low, high = filled(long_tailed).best_range(Calibrator.MSE, ALL)
    best = error_of(long_tailed, low, high)
    assert best < error_of(long_tailed, long_tailed.min(), long_tailed.max())
    assert best < error_of(long_tailed, low / 2, high / 2)


@pytest.mark.parametrize("calibrator", Calibrator)
def test_an_even_distribution_keeps_its_range(calibrator: Calibrator) -> None:
    low, high = filled(np.random.default_rng(0).uniform(-1, 1, 100_000)).best_range(calibrator, 99.999)
    assert low < -0.9
    assert high > 0.9


@pytest.mark.parametrize("calibrator", Calibrator)
def test_a_constant_is_no_trouble(calibrator: Calibrator) -> None:
    for value in (0.0, 3.0, -2.0):
        low, high = filled(np.full(100, value)).best_range(calibrator, 99.0)
        assert np.isfinite([low, high]).all()
        assert low <= min(value, 0) + 0.01
        assert high >= max(value, 0) - 0.01
