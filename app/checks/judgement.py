"""The judgement of a check: intervals against limits. Pure functions of what was measured."""

from app.jobs.comparing import (
    Unknown,
    check_same_model,
    exactly,
    further_loss,
    inverse,
    loss_of,
    own_slowdown,
    slowdown_of,
)
from whetstone.contract.checks import Beside, CheckSpec, Finding, Judged, Outcome, SideBySide
from whetstone.contract.reports import Estimate, JobReport, TargetReport
from whetstone.contract.targets import Target


def outcome_of(findings: tuple[Finding, ...]) -> Outcome:
    found = {finding.outcome for finding in findings}
    return next(each for each in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS) if each in found)


def judge_measured(seen: SideBySide, spec: CheckSpec) -> tuple[Finding, ...]:
    """A candidate that was measured side by side with the baseline."""
    doubts = "; ".join(seen.conditions.invalid_because)
    slowdown = None if doubts else inverse(seen.speedup)
    seen_by = {
        Judged.ACCURACY: loss_of(seen.accuracy, seen.fidelity),
        Judged.LATENCY: slowdown,
        Judged.SIZE: exactly(seen.candidate.size / seen.baseline.size),
    }
    return tuple(
        _finding(seen.target, judged, limit, seen_by[judged], f"the measurement cannot be relied on: {doubts}")
        for judged, limit in limits_of(spec)
    )


def judge_reports(target: Target, baseline: JobReport, candidate: JobReport, spec: CheckSpec) -> tuple[Finding, ...]:
    """Two jobs that began with the same model: see `app.jobs.comparing`."""
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
    to_original = beside is Beside.ORIGINAL
    try:
        before, after = _measured(baseline, target), _measured(candidate, target)
        if to_original and judged is not Judged.SIZE:
            check_same_model(baseline, candidate)
        match judged:
            case Judged.SIZE:
                seen = exactly(after.result.size / (before.original if to_original else before.result).size)
            case Judged.ACCURACY if to_original:
                seen = loss_of(after.accuracy, after.fidelity)
            case Judged.ACCURACY:
                seen = further_loss(baseline, candidate, before, after)
            case Judged.LATENCY:
                seen = own_slowdown(after) if to_original else slowdown_of(baseline, candidate, before, after)
    except Unknown as why:
        return _finding(target, judged, limit, None, str(why))
    return _finding(target, judged, limit, seen, "")


def _measured(report: JobReport, target: Target) -> TargetReport:
    found = next((each for each in report.targets if each.target is target), None)
    if found is None:
        raise Unknown(f"{report.job_id} was not measured on {target}")
    return found
