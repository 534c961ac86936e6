"""Two reports side by side: what one result lost and took more than another, as far as there is a yardstick.

Jobs are measured in sessions of their own. What they have in common is the model that they began with: each result was
seen beside it, so two results are compared by what each lost and gained against it. Differences of independent
estimates have the interval of Zou & Donner (2008, MOVER). Test samples in common make it wider than it need be, never
too narrow, where two results tend to fail on the same ones.
"""

import math

from whetstone.contract.reports import Accuracy, Estimate, Fidelity, JobReport, TargetReport

_ELSEWHERE = "Check the model itself, by `model_id`: then both are measured side by side."


class Unknown(Exception):
    """What cannot be compared; its text says why."""


def check_same_model(baseline: JobReport, candidate: JobReport) -> None:
    """Raises Unknown."""
    if baseline.model_sha256 != candidate.model_sha256:
        raise Unknown(f"the jobs began with different models. {_ELSEWHERE}")


def further_loss(baseline: JobReport, candidate: JobReport, before: TargetReport, after: TargetReport) -> Estimate:
    """How much more the candidate lost than the baseline did. Raises Unknown."""
    check_same_model(baseline, candidate)
    if baseline.dataset_sha256 != candidate.dataset_sha256:
        raise Unknown(f"the jobs were judged on different data. {_ELSEWHERE}")
    if (before.accuracy is None) != (after.accuracy is None) or (
        before.accuracy and after.accuracy and before.accuracy.metric is not after.accuracy.metric
    ):
        raise Unknown(f"the jobs were judged by different metrics. {_ELSEWHERE}")
    return difference(loss_of(after.accuracy, after.fidelity), loss_of(before.accuracy, before.fidelity))


def slowdown_of(baseline: JobReport, candidate: JobReport, before: TargetReport, after: TargetReport) -> Estimate:
    """The ratio of latencies, by those to the original that both began with. Raises Unknown."""
    check_same_model(baseline, candidate)
    if _circumstances(before) != _circumstances(after):
        raise Unknown(f"the jobs were measured on other machines, versions, threads or batches. {_ELSEWHERE}")
    ratio = difference(_logarithm(own_slowdown(after)), _logarithm(own_slowdown(before)))
    return ratio.model_copy(update={name: math.exp(getattr(ratio, name)) for name in ("value", "low", "high")})


def own_slowdown(report: TargetReport) -> Estimate:
    """Against the original that the result was measured beside. Raises Unknown."""
    if not report.conditions.valid:
        raise Unknown(f"a measurement cannot be relied on: {'; '.join(report.conditions.invalid_because)}")
    return inverse(report.speedup)


def _circumstances(report: TargetReport) -> tuple[object, ...]:
    how, where = report.conditions, report.environment
    return how.batch_size, how.threads, where.cpu, where.versions


def loss_of(accuracy: Accuracy | None, fidelity: Fidelity) -> Estimate:
    """In the unit of `max_drop`: by labels where there are any, else by decisions that changed, else by the outputs'
    direction.
    """
    if accuracy is not None:
        return accuracy.drop
    if fidelity.agreement is not None:
        of = fidelity.agreement
        return Estimate(value=100 - of.value, low=100 - of.high, high=100 - of.low, confidence=of.confidence)
    return exactly(100 * (1 - fidelity.cosine))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """First minus second, independent of each other, with the interval of Zou & Donner (2008, equation 2)."""
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    confidence = min(first.confidence, second.confidence)
    return Estimate(value=value, low=value - below, high=value + above, confidence=confidence)


def inverse(of: Estimate) -> Estimate:
    return Estimate(value=1 / of.value, low=1 / of.high, high=1 / of.low, confidence=of.confidence)


def _logarithm(of: Estimate) -> Estimate:
    return of.model_copy(update={name: math.log(getattr(of, name)) for name in ("value", "low", "high")})


def exactly(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value, confidence=1.0)
