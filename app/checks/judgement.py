"""The judgement of a check: intervals against limits. Pure functions of what was measured."""

import math

from whetstone.contract.checks import Beside, CheckSpec, Finding, Judged, Outcome, SideBySide
from whetstone.contract.reports import Accuracy, Estimate, Fidelity, JobReport, TargetReport
from whetstone.contract.targets import Target

_ELSEWHERE = "Check the model itself, by `model_id`: then both are measured side by side."


class Unknown(Exception):
    """What cannot be compared; its text says why."""


def outcome_of(findings: tuple[Finding, ...]) -> Outcome:
    found = {finding.outcome for finding in findings}
    return next(each for each in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS) if each in found)


def judge_measured(seen: SideBySide, spec: CheckSpec) -> tuple[Finding, ...]:
    """A candidate that was measured side by side with the baseline."""
    doubts = "; ".join(seen.conditions.invalid_because)
    slowdown = None if doubts else _inverse(seen.speedup)
    seen_by = {
        Judged.ACCURACY: _loss(seen.accuracy, seen.fidelity),
        Judged.LATENCY: slowdown,
        Judged.SIZE: _exactly(seen.candidate.size / seen.baseline.size),
    }
    return tuple(
        _finding(seen.target, judged, limit, seen_by[judged], f"the measurement cannot be relied on: {doubts}")
        for judged, limit in limits_of(spec)
    )


def judge_reports(target: Target, baseline: JobReport, candidate: JobReport, spec: CheckSpec) -> tuple[Finding, ...]:
    """Two jobs that began with the same model: what each lost and gained against it says how they compare.

    Differences of independent estimates have the interval of Zou & Donner (2008, MOVER). Test samples in common make
    it wider than it need be, never too narrow, where two results tend to fail on the same ones.
    """
    return tuple(
        _judge_report(target, judged, limit, baseline, candidate, spec.beside) for judged, limit in limits_of(spec)
    )


def limits_of(spec: CheckSpec) -> tuple[tuple[Judged, float], ...]:
    """What is judged, in the order in which it is told."""
    limits = {
        Judged.ACCURACY: spec.limits.max_drop,
        Judged.LATENCY: spec.limits.max_slowdown,
        Judged.SIZE: spec.limits.max_growth,
    }
    return tuple((judged, limit) for judged, limit in limits.items() if judged not in spec.skip)


def unknown(target: Target, spec: CheckSpec, because: str) -> tuple[Finding, ...]:
    """Nothing was seen on this target."""
    return tuple(_finding(target, judged, limit, None, because) for judged, limit in limits_of(spec))


def _finding(target: Target, judged: Judged, limit: float, seen: Estimate | None, otherwise: str) -> Finding:
    if seen is None:
        outcome, because = Outcome.INCONCLUSIVE, otherwise
    elif seen.high <= limit:
        outcome, because = Outcome.PASS, "within the limit, with its whole interval"
    elif seen.low > limit:
        outcome, because = Outcome.FAIL, "beyond the limit, with its whole interval"
    else:
        outcome, because = Outcome.INCONCLUSIVE, "the limit lies within the interval: more samples would tell"
    return Finding(target=target, judged=judged, outcome=outcome, limit=limit, seen=seen, because=because)


def _judge_report(
    target: Target, judged: Judged, limit: float, baseline: JobReport, candidate: JobReport, beside: Beside
) -> Finding:
    try:
        before, after = _measured(baseline, target), _measured(candidate, target)
        match judged:
            case Judged.SIZE:
                side = before.original if beside is Beside.ORIGINAL else before.result
                seen = _exactly(after.result.size / side.size)
            case Judged.ACCURACY:
                _check_same_model(baseline, candidate)
                seen = _further_loss(baseline, candidate, before, after, beside)
            case Judged.LATENCY:
                _check_same_model(baseline, candidate)
                seen = _slowdown(before, after, beside)
    except Unknown as why:
        return _finding(target, judged, limit, None, str(why))
    return _finding(target, judged, limit, seen, "")


def _measured(report: JobReport, target: Target) -> TargetReport:
    found = next((each for each in report.targets if each.target is target), None)
    if found is None:
        raise Unknown(f"{report.job_id} was not measured on {target}")
    return found


def _check_same_model(baseline: JobReport, candidate: JobReport) -> None:
    if baseline.model_sha256 != candidate.model_sha256:
        raise Unknown(f"the jobs began with different models. {_ELSEWHERE}")


def _further_loss(
    baseline: JobReport, candidate: JobReport, before: TargetReport, after: TargetReport, beside: Beside
) -> Estimate:
    """How much more the candidate lost than the baseline did."""
    if baseline.dataset_sha256 != candidate.dataset_sha256:
        raise Unknown(f"the jobs were judged on different data. {_ELSEWHERE}")
    if (before.accuracy is None) != (after.accuracy is None) or (
        before.accuracy and after.accuracy and before.accuracy.metric is not after.accuracy.metric
    ):
        raise Unknown(f"the jobs were judged by different metrics. {_ELSEWHERE}")
    lost = _loss(after.accuracy, after.fidelity)
    return lost if beside is Beside.ORIGINAL else difference(lost, _loss(before.accuracy, before.fidelity))


def _slowdown(before: TargetReport, after: TargetReport, beside: Beside) -> Estimate:
    """The ratio of latencies, by those to the original that both began with, each seen in its own session."""
    for each in (before, after):
        if not each.conditions.valid:
            raise Unknown(f"a measurement cannot be relied on: {'; '.join(each.conditions.invalid_because)}")
    if beside is Beside.ORIGINAL:
        return _inverse(after.speedup)
    if _circumstances(before) != _circumstances(after):
        raise Unknown(f"the jobs were measured on other machines, versions, threads or batches. {_ELSEWHERE}")
    ratio = difference(_logarithm(before.speedup), _logarithm(after.speedup))
    return ratio.model_copy(update={name: math.exp(getattr(ratio, name)) for name in ("value", "low", "high")})


def _circumstances(report: TargetReport) -> tuple[object, ...]:
    how, where = report.conditions, report.environment
    return how.batch_size, how.threads, where.cpu, where.versions


def _loss(accuracy: Accuracy | None, fidelity: Fidelity) -> Estimate:
    """In the unit of `max_drop`: by labels where there are any, else by decisions that changed, else by the outputs'
    direction.
    """
    if accuracy is not None:
        return accuracy.drop
    if fidelity.agreement is not None:
        of = fidelity.agreement
        return Estimate(value=100 - of.value, low=100 - of.high, high=100 - of.low, confidence=of.confidence)
    return _exactly(100 * (1 - fidelity.cosine))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """First minus second, independent of each other, with the interval of Zou & Donner (2008, equation 2)."""
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    confidence = min(first.confidence, second.confidence)
    return Estimate(value=value, low=value - below, high=value + above, confidence=confidence)


def _inverse(of: Estimate) -> Estimate:
    return Estimate(value=1 / of.value, low=1 / of.high, high=1 / of.low, confidence=of.confidence)


def _logarithm(of: Estimate) -> Estimate:
    return of.model_copy(update={name: math.log(getattr(of, name)) for name in ("value", "low", "high")})


def _exactly(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value, confidence=1.0)
