"""Which candidates are worth keeping: those that no other beats in everything, and the one that serves the budget."""

from collections.abc import Sequence

from whetstone.contract.jobs import Budget, Objective
from whetstone.contract.trials import Score

MARGIN = 1.02
"""A brief timing must show at least this gain before a candidate is taken for quicker than the original."""


def beats(one: Score, other: Score) -> bool:
    """At least as good in everything, and better in something (Pareto dominance)."""
    no_worse = one.lost <= other.lost and one.speedup >= other.speedup and one.size_ratio >= other.size_ratio
    return no_worse and one != other


def front(scores: Sequence[Score]) -> list[bool]:
    """Whether each is on the Pareto front of all."""
    return [not any(beats(other, score) for other in scores) for score in scores]


def best(scores: Sequence[Score], budget: Budget) -> int | None:
    """Index of the candidate that serves the budget best; None where all are worse than the original."""
    allowed = [index for index, score in enumerate(scores) if gain(score, budget) > 0]
    return max(allowed, key=lambda index: gain(scores[index], budget), default=None)


def gain(score: Score, budget: Budget) -> float:
    """By the objective; zero or less where the budget is broken or nothing is gained."""
    if score.lost > budget.max_drop:
        return 0.0
    match budget.objective:
        case Objective.LATENCY:
            return score.speedup - MARGIN
        case Objective.SIZE:
            return score.size_ratio - 1
        case Objective.ACCURACY:
            return -score.lost


def reason(score: Score, budget: Budget, *, chosen: bool, on_front: bool) -> str:
    """One sentence: why a candidate was chosen, kept or dropped."""
    seen = f"{score.speedup:.2f} times as fast, {score.size_ratio:.2f} times smaller, {score.lost:.2f} lost"
    if chosen:
        return f"Chosen: {seen}."
    if score.lost > budget.max_drop:
        return f"Dropped: {score.lost:.2f} lost, {budget.max_drop:g} allowed ({seen})."
    if gain(score, budget) <= 0:
        return f"Dropped: no better than the original ({seen})."
    return f"Kept on the front: {seen}." if on_front else f"Dropped: another is better in everything ({seen})."
