"""The judgement: do no harm, then be better with confidence, then keep the limits. A pure function of numbers."""

from dataclasses import dataclass
from typing import assert_never

from whetstone.contract.jobs import Assurance, Budget, Objective
from whetstone.contract.metrics import Metric
from whetstone.contract.reports import Accuracy, Conditions, Estimate, Fidelity, Measured, Verdict, VerdictKind
from workers.engine.measure.statistics import scaled

MEGABYTE = 1_000_000
MEDIAN = 50
DEFAULT_MAX_DROP = 0.5
LEAST_MEMORY_GAIN = 1.02
"""How much less memory a process must take: two starts of the same one differ by a percent."""


ON_CPU = "seen of its graph in onnxruntime on the CPU"

LOST = {
    Metric.ACCURACY: "points of accuracy",
    Metric.MSE: "percent of mean squared error",
    Metric.AUC: "points of AUC",
    Metric.LOG_LOSS: "percent of log-loss",
}


@dataclass(frozen=True)
class Evidence:
    """All that was measured of one target."""

    original: Measured
    result: Measured
    speedup: Estimate
    accuracy: Accuracy | None
    fidelity: Fidelity
    conditions: Conditions


@dataclass(frozen=True)
class Loss:
    """What the result gave away, in the unit of `max_drop`; negative where it gained."""

    drop: Estimate
    what: str

    def __str__(self) -> str:
        gained = self.drop.value < 0
        return f"{abs(self.drop.value):.3g} {self.what} {'gained' if gained else 'lost'}"


def allowed_drop(budget: Budget, accuracy: Accuracy | None) -> float:
    """What may be lost, in the unit of `max_drop`. Never below zero: where the original itself has less than
    `min_accuracy`, a result must at least be no worse.
    """
    if budget.min_accuracy is None or accuracy is None or accuracy.metric is not Metric.ACCURACY:
        return DEFAULT_MAX_DROP if budget.max_drop is None else budget.max_drop
    room = max(0.0, 100 * (accuracy.original - budget.min_accuracy))
    return room if budget.max_drop is None else min(room, budget.max_drop)


def judge(budget: Budget, seen: Evidence) -> Verdict:
    """Improved, no gain or over budget, and in one sentence why."""
    loss, allowed = loss_of(seen.accuracy, seen.fidelity), allowed_drop(budget, seen.accuracy)
    harm = _too_lossy(budget, loss, allowed) or _no_better(budget, seen) or _too_slow(budget, seen)
    if harm:
        return Verdict(kind=VerdictKind.NO_GAIN, reason=f"The original is returned: {harm}.")
    gain = f"{_gains(budget, seen)}, with {loss} ({allowed:.3g} allowed)"
    limits = (
        _accuracy_missed(budget, seen.accuracy),
        _latency_missed(budget, seen),
        _size_missed(budget, seen.result.size),
    )
    missed = [limit for limit in limits if limit]
    if missed:
        return Verdict(
            kind=VerdictKind.OVER_BUDGET, reason=f"Better, but {' and '.join(missed)}; the result is {gain}."
        )
    return Verdict(kind=VerdictKind.IMPROVED, reason=f"The result is {gain}.")


def judge_built(budget: Budget, size: int, accuracy: Accuracy | None, fidelity: Fidelity) -> Verdict:
    """Of an engine that cannot be run: by the size of its file in bytes, and by what the graph behind it gave away."""
    loss, allowed = loss_of(accuracy, fidelity), allowed_drop(budget, accuracy)
    gained = _not_more_accurate(accuracy) if budget.objective is Objective.ACCURACY else None
    harm = _too_lossy(budget, loss, allowed) or gained
    if harm:
        return Verdict(kind=VerdictKind.NO_GAIN, reason=f"The original is built: {harm}, {ON_CPU}.")
    told = f"there is no such device here, so its speed is not known; {loss} ({allowed:.3g} allowed), {ON_CPU}"
    limits = (_accuracy_missed(budget, accuracy), _size_missed(budget, size))
    missed = [limit for limit in limits if limit]
    if missed:
        return Verdict(kind=VerdictKind.OVER_BUDGET, reason=f"Built, not run, and {' and '.join(missed)}: {told}.")
    unseen = f" max_latency_ms ({budget.max_latency_ms:g} ms) was not checked." if budget.max_latency_ms else ""
    return Verdict(kind=VerdictKind.BUILT, reason=f"Built, not run: {told}.{unseen}")


def loss_of(accuracy: Accuracy | None, fidelity: Fidelity) -> Loss:
    """By labels where there are any, else by decisions that changed, else by the direction of the outputs.

    The cosine is a mean without an interval: with `assurance: interval` its estimate is judged.
    """
    if accuracy:
        return Loss(accuracy.drop, LOST[accuracy.metric])
    if fidelity.agreement:
        return Loss(scaled(fidelity.agreement, -1, shift=100), "points of agreement with the original")
    away = 100 * (1 - fidelity.cosine)
    return Loss(Estimate(value=away, low=away, high=away), "percent of cosine similarity to the original")


def _too_lossy(budget: Budget, loss: Loss, limit: float) -> str | None:
    allowed = f"{limit:.3g} allowed"
    if loss.drop.value > limit:
        return f"{loss}, {allowed}"
    if budget.assurance is Assurance.INTERVAL and loss.drop.high > limit:
        return f"{loss}, but it may be up to {loss.drop.high:.3g} ({_interval(loss.drop)}), {allowed}"
    return None


def _no_better(budget: Budget, seen: Evidence) -> str | None:
    match budget.objective:
        case Objective.LATENCY | Objective.THROUGHPUT:
            return _not_faster(seen)
        case Objective.SIZE:
            return None if seen.result.size < seen.original.size else f"the result is {_size(seen)}"
        case Objective.ACCURACY:
            return _not_more_accurate(seen.accuracy)
        case Objective.MEMORY:
            enough = seen.original.peak_memory >= LEAST_MEMORY_GAIN * seen.result.peak_memory
            return None if enough else f"its process takes {_memory(seen)}"
        case _:
            assert_never(budget.objective)


def _not_more_accurate(accuracy: Accuracy | None) -> str | None:
    if accuracy is None:
        return "the test split has no labels to show by that the result is more accurate"
    if accuracy.drop.high < 0:
        return None
    return f"the result is not more accurate with confidence ({_interval(scaled(accuracy.drop, -1))} gained)"


def _not_faster(seen: Evidence) -> str | None:
    if not seen.conditions.valid:
        return f"the measurement cannot be relied on ({'; '.join(seen.conditions.invalid_because)})"
    return None if seen.speedup.low > 1 else f"the result is not faster with confidence, it is {_speed(seen)}"


def _too_slow(budget: Budget, seen: Evidence) -> str | None:
    """With confidence; what seeks speed has been found faster before."""
    if seen.speedup.high >= 1 / budget.max_slowdown:
        return None
    return f"the result takes {1 / seen.speedup.value:.3g} times as long (max_slowdown {budget.max_slowdown:g})"


def _accuracy_missed(budget: Budget, accuracy: Accuracy | None) -> str | None:
    """Only where the original itself has less than `min_accuracy`: else too much was lost."""
    limit = budget.min_accuracy
    if limit is None or accuracy is None or accuracy.metric is not Metric.ACCURACY or accuracy.result >= limit:
        return None
    return (
        f"its accuracy of {accuracy.result:.4g} is below min_accuracy ({limit:g}), as is the original's "
        f"({accuracy.original:.4g})"
    )


def _latency_missed(budget: Budget, seen: Evidence) -> str | None:
    limit, median = budget.max_latency_ms, seen.result.latency.at(MEDIAN)
    if limit is None:
        return None
    if median is None or not seen.conditions.valid:
        return f"it cannot be shown to keep max_latency_ms ({limit:g} ms), as the measurement cannot be relied on"
    if median.ms <= limit:
        return None
    return f"its p50 of {median.ms:.3g} ms is {_over(median.ms, limit)} max_latency_ms ({limit:g} ms)"


def _size_missed(budget: Budget, size: int) -> str | None:
    limit, megabytes = budget.max_size_mb, size / MEGABYTE
    if limit is None or megabytes <= limit:
        return None
    return f"its {megabytes:.3g} MB are {_over(megabytes, limit)} max_size_mb ({limit:g} MB)"


def _gains(budget: Budget, seen: Evidence) -> str:
    """What the budget asked for comes first."""
    speed, size = _speed(seen), _size(seen)
    match budget.objective:
        case Objective.LATENCY:
            return f"{speed} and {size}"
        case Objective.THROUGHPUT:
            return f"{speed} in samples a second, and {size}"
        case Objective.SIZE | Objective.ACCURACY:
            return f"{size} and {speed}"
        case Objective.MEMORY:
            return f"in need of {_memory(seen)}, {size} and {speed}"
        case _:
            assert_never(budget.objective)


def _speed(seen: Evidence) -> str:
    return f"{seen.speedup.value:.3g} times as fast ({_interval(seen.speedup)})"


def _memory(seen: Evidence) -> str:
    result, original = seen.result.peak_memory / MEGABYTE, seen.original.peak_memory / MEGABYTE
    return f"{result:.3g} MB of memory, the original's {original:.3g} MB"


def _size(seen: Evidence) -> str:
    original, result = seen.original.size, seen.result.size
    if original == result:
        return "of the same size"
    times = f"{max(original, result) / min(original, result):.3g} times"
    return f"{times} {'smaller' if result < original else 'larger'}"


def _over(value: float, limit: float) -> str:
    percent = 100 * (value / limit - 1)
    return f"{percent:.0f}% over" if percent >= 1 else f"{percent:.1g}% over"


def _interval(estimate: Estimate) -> str:
    return f"{estimate.confidence:.0%} interval {estimate.low:.3g} to {estimate.high:.3g}"
