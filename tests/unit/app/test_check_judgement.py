"""What a check says of intervals and limits."""

import math
import random
import statistics

import pytest

from app.checks.judgement import judge_measured, judge_reports, outcome_of
from app.jobs.comparing import difference
from tests.service import facts
from whetstone.contract.checks import Beside, CheckLimits, CheckSpec, Judged, Outcome, SideBySide
from whetstone.contract.metrics import Metric
from whetstone.contract.reports import Accuracy, Estimate, JobReport, TargetReport, Verdict, VerdictKind
from whetstone.contract.targets import Target

TARGET = Target.ONNXRUNTIME_CPU
SOME_JOB, OTHER_JOB = "job_01h455vb4pex5vsknk084sn02q", "job_01h455vb4pex5vsknk084sn02r"
SPEC = CheckSpec(against=SOME_JOB, job_id=OTHER_JOB, limits=CheckLimits(max_drop=0.5, max_slowdown=1.1, max_growth=1.1))
BESIDE_ORIGINAL = SPEC.model_copy(update={"beside": Beside.ORIGINAL})


def estimate(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def accuracy(drop: Estimate) -> Accuracy:
    return Accuracy(metric=Metric.ACCURACY, samples=1000, original=0.9, result=0.9 - drop.value / 100, drop=drop)


def measured(speedup: Estimate, drop: Estimate, size: int = 100, because: tuple[str, ...] = ()) -> SideBySide:
    report = facts.target_report(TARGET)
    conditions = report.conditions.model_copy(update={"valid": not because, "invalid_because": because})
    return SideBySide(
        target=TARGET,
        baseline=report.original,
        candidate=report.result.model_copy(update={"size": size}),
        speedup=speedup,
        accuracy=accuracy(drop),
        fidelity=report.fidelity,
        conditions=conditions,
        environment=report.environment,
    )


def reported(speedup: Estimate, drop: Estimate, **changes: object) -> JobReport:
    target = facts.target_report(TARGET).model_copy(update={"speedup": speedup, "accuracy": accuracy(drop)})
    return of(target, **changes)


def of(target: TargetReport, **changes: object) -> JobReport:
    fields: dict[str, object] = {
        "job_id": SOME_JOB,
        "job_name": "a",
        "model_id": "mdl_01h455vb4pex5vsknk084sn02q",
        "model_name": "m",
        "model_sha256": "0" * 64,
        "dataset_id": None,
        "dataset_name": None,
        "dataset_sha256": "1" * 64,
        "verdict": Verdict(kind=VerdictKind.IMPROVED, reason="x"),
        "passes": (),
        "targets": (target,),
        "created_at": "2026-01-01T00:00:00Z",
    }
    return JobReport.model_validate(fields | changes)


def outcomes(findings: tuple[object, ...]) -> dict[Judged, Outcome]:
    return {finding.judged: finding.outcome for finding in findings}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("speedup", "drop", "size", "expected"),
    [
        (estimate(1.0, 0.02), estimate(0.1, 0.2), 105, Outcome.PASS),
        (estimate(0.8, 0.02), estimate(0.1, 0.2), 100, Outcome.FAIL),  # 1.25 times as long
        (estimate(0.92, 0.05), estimate(0.1, 0.2), 100, Outcome.INCONCLUSIVE),
        (estimate(1.0, 0.02), estimate(1.0, 0.4), 100, Outcome.FAIL),
        (estimate(1.0, 0.02), estimate(0.4, 0.4), 100, Outcome.INCONCLUSIVE),
        (estimate(1.0, 0.02), estimate(0.1, 0.2), 111, Outcome.FAIL),
        (estimate(0.8, 0.02), estimate(0.4, 0.4), 100, Outcome.FAIL),  # one is enough
    ],
)
def test_the_whole_interval_must_keep_the_limit(
    speedup: Estimate, drop: Estimate, size: int, expected: Outcome
) -> None:
    assert outcome_of(judge_measured(measured(speedup, drop, size), SPEC)) is expected


def test_a_measurement_that_cannot_be_relied_on_says_nothing_of_speed() -> None:
    findings = judge_measured(measured(estimate(2, 0.1), estimate(0, 0.1), because=("noisy",)), SPEC)
    assert outcomes(findings)[Judged.LATENCY] is Outcome.INCONCLUSIVE
    assert outcomes(findings)[Judged.ACCURACY] is Outcome.PASS
    assert "noisy" in findings[1].because


def test_only_what_is_limited_is_judged() -> None:
    spec = SPEC.model_copy(update={"skip": frozenset({Judged.ACCURACY, Judged.LATENCY})})
    findings = judge_measured(measured(estimate(0.1, 0.01), estimate(9, 0.1)), spec)
    assert outcomes(findings) == {Judged.SIZE: Outcome.PASS}


def test_two_jobs_are_compared_by_what_they_did_to_the_same_model() -> None:
    baseline, candidate = reported(estimate(2, 0.05), estimate(0.3, 0.1)), reported(estimate(1, 0.02), estimate(1, 0.1))
    findings = judge_reports(TARGET, baseline, candidate, SPEC)
    accuracy, latency, size = findings
    assert accuracy.seen is not None
    assert latency.seen is not None
    assert accuracy.seen.value == pytest.approx(0.7)
    assert accuracy.seen.high - accuracy.seen.value == pytest.approx(math.hypot(0.1, 0.1))
    assert latency.seen.value == pytest.approx(2)
    assert latency.seen.low < 2 < latency.seen.high
    assert [each.outcome for each in findings] == [Outcome.FAIL, Outcome.FAIL, Outcome.PASS]
    assert size.seen == Estimate(value=1, low=1, high=1, confidence=1)


def test_beside_the_original_the_baseline_itself_does_not_matter() -> None:
    candidate = reported(estimate(0.5, 0.01), estimate(0.1, 0.1))
    for baseline in (reported(estimate(4, 0.1), estimate(5, 1)), reported(estimate(1, 0.1), estimate(0, 0.1))):
        accuracy, latency, _ = judge_reports(TARGET, baseline, candidate, BESIDE_ORIGINAL)
        assert accuracy.outcome is Outcome.PASS
        assert latency.seen is not None
        assert latency.seen.value == pytest.approx(2)


@pytest.mark.parametrize(
    ("changes", "told", "unknown"),
    [
        ({"model_sha256": "2" * 64}, "different models", {Judged.ACCURACY, Judged.LATENCY}),
        ({"dataset_sha256": "2" * 64}, "different data", {Judged.ACCURACY}),
        ({"targets": ()}, "was not measured on", set(Judged)),
    ],
)
def test_what_has_no_common_yardstick_is_inconclusive(
    changes: dict[str, object], told: str, unknown: set[Judged]
) -> None:
    one, two = (reported(estimate(2, 0.05), estimate(0, 0.1)) for _ in range(2))
    other = of(two.targets[0], job_id=OTHER_JOB, **changes)
    findings = judge_reports(TARGET, one, other, SPEC)
    assert {finding.judged for finding in findings if finding.seen is None} == unknown
    assert all(told in finding.because for finding in findings if finding.seen is None)


def test_sessions_on_other_machines_are_not_compared() -> None:
    one, two = (reported(estimate(2, 0.05), estimate(0, 0.1)) for _ in range(2))
    moved = two.targets[0].environment.model_copy(update={"cpu": "another"})
    other = of(two.targets[0].model_copy(update={"environment": moved}))
    found = outcomes(judge_reports(TARGET, one, other, SPEC))
    assert found[Judged.LATENCY] is Outcome.INCONCLUSIVE


def test_the_interval_of_a_difference_holds_what_it_says() -> None:
    """Of normal estimates, 95 % intervals of the difference hold the true one about 95 % of the time."""
    drawn, held = random.Random(1), []  # noqa: S311 - no secret
    for _ in range(4000):
        first, second = drawn.gauss(1, 0.2), drawn.gauss(0.4, 0.1)
        found = difference(estimate(first, 1.96 * 0.2), estimate(second, 1.96 * 0.1))
        held.append(found.low <= 0.6 <= found.high)
    assert statistics.mean(held) == pytest.approx(0.95, abs=0.015)
