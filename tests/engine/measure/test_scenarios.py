"""Loads for real, on files whose verdicts follow from the rule and not from how fast this machine is."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from whetstone.contract.jobs import Measurement
from whetstone.contract.reports import ScenarioReport
from whetstone.contract.scenarios import MultiStream, Offline, Scenario, Server, SingleStream
from whetstone.contract.targets import RuntimeSettings, Target
from workers.engine.measure.latency import Contest, TooManyThreads
from workers.engine.measure.scenarios import (
    arrivals_of,
    check_scenarios,
    comparing_part,
    judged,
    measure_scenarios,
    repeated,
    shares_of,
)
from workers.engine.measure.statistics import needed_samples

FIXED = "g (float[1,3] x) => (float[1,3] y) { y = Relu(x) }"


def measured(folder: Path, *scenarios: Scenario, fixed: bool = False) -> tuple[ScenarioReport, ...]:
    model = models.parsed(FIXED) if fixed else models.random_mlp(hidden=32)
    shape = (1, 3) if fixed else (1, 1, 28, 28)
    file = models.saved(model, folder / "model.onnx")
    settings = RuntimeSettings(streams=2)
    contest = Contest(Target.ONNXRUNTIME_CPU, file, file, {"x": np.ones(shape, np.float32)}, settings)
    told: list[float] = []
    how = Measurement(threads=1, max_seconds=2, scenarios=scenarios)
    found = tuple(measure_scenarios(contest, how, folder / "loads", told.append))
    assert told[-1] == 1
    assert sum(each.budget for each in found) == pytest.approx(1)
    return found


def test_each_stream_has_its_calls_counted(tmp_path: Path) -> None:
    alone, several = measured(tmp_path, SingleStream(), MultiStream(processes=2))
    for report in (alone, several):
        (point,) = report.points
        assert report.ended == "all settings were measured"
        assert report.seconds > 0.5 * report.budget
        for side in (point.original, point.result):
            assert side.throughput > 0
            assert side.latency.samples >= 6
            assert side.valid is None
        assert point.ratio is not None
        assert point.ratio.confidence >= 0.95


def test_a_sweep_tries_batches_until_it_ends(tmp_path: Path) -> None:
    (report,) = measured(tmp_path, Offline(max_batch=4))
    assert [point.setting for point in report.points] == [1, 2, 4][: len(report.points)]
    assert report.ended == "all settings were measured" or "twice the batch" in report.ended


def test_a_batch_that_the_model_refuses_ends_its_sweep(tmp_path: Path) -> None:
    (report,) = measured(tmp_path, Offline(), fixed=True)
    assert [point.setting for point in report.points] == [1]
    assert "Expected: 1" in report.ended


def test_a_server_that_cannot_be_late_and_one_that_must_be(tmp_path: Path) -> None:
    """Medians can be claimed of few calls. Whatever runs takes longer than a nanosecond, and less than a minute."""
    common = {"rate": 200, "percent": 50}
    patient, strict = measured(tmp_path, Server(latency_ms=60_000, **common), Server(latency_ms=1e-6, **common))
    for report, valid in ((patient, True), (strict, False)):
        (point,) = report.points
        assert (point.original.valid, point.result.valid) == (valid, valid)
        assert point.ratio is None
    assert "took more than 1e-06 ms" in (strict.points[0].result.invalid_because or "")


def test_what_can_be_claimed_of_a_server() -> None:
    server = Server(rate=10, latency_ms=5, percent=99)
    quick, slow = np.full(1000, 1.0), np.full(1000, 9.0)
    assert judged(server, quick, 1000, 10).valid
    assert judged(server, slow, 1000, 10).invalid_because == "1000 of 1000 calls took more than 5 ms"
    few = judged(server, quick[:100], 100, 10)
    assert (few.valid, few.invalid_because) == (
        False,
        "too few calls: 0 of 100 calls took more than 5 ms, and it takes 459 to claim p99 all the same",
    )
    given_up = judged(server, quick[:900], 1000, 10)
    assert (given_up.valid, given_up.unfinished, given_up.latency.samples) == (False, 100, 900)


@pytest.mark.parametrize("over", [0, 1, 7])
def test_as_few_calls_as_allow_so_many_late_ones(over: int) -> None:
    server = Server(rate=10, latency_ms=5, percent=99)
    needed = needed_samples(99, over)
    for asked, valid in ((needed, True), (needed - 1, False)):
        times = np.concatenate([np.full(over, 9.0), np.full(asked - over, 1.0)])
        assert judged(server, times, asked, 10).valid is valid


def test_arrivals_are_poisson() -> None:
    """Of an exponential distribution mean and deviation are the same."""
    times = arrivals_of(100, 100, seed=0)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    assert times[-1] < 100
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(0.01, rel=0.05)
    assert np.array_equal(times, arrivals_of(100, 100, seed=0))
    assert not np.array_equal(times[:5], arrivals_of(100, 100, seed=1)[:5])
    assert arrivals_of(0.001, 1, seed=0).tolist() == [0]


def test_cores_are_shared_out() -> None:
    assert shares_of((0, 1, 2, 3), 2) == [(0, 2), (1, 3)]
    assert shares_of((4,), 3) == [(4,), (4,), (4,)]


def test_samples_are_repeated() -> None:
    found = repeated({"x": np.array([[1, 2], [3, 4]])}, 3)
    assert found["x"].tolist() == [[1, 2], [3, 4], [1, 2]]


def test_time_is_shared_only_with_scenarios() -> None:
    assert comparing_part(Measurement()).max_seconds == 30
    assert comparing_part(Measurement(scenarios=(Offline(),))).max_seconds == 15


def test_more_threads_than_cores_are_refused_at_once() -> None:
    with pytest.raises(TooManyThreads, match="single_stream scenario asks for 256 threads"):
        check_scenarios(Measurement(scenarios=(SingleStream(threads=(1, 256)),)))
