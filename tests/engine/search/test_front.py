"""Which candidates are kept, and which is chosen."""

import pytest

from whetstone.contract.jobs import Budget, Objective
from whetstone.contract.trials import Score
from workers.engine.search.front import beats, best, front, gain, reason

ORIGINAL = Score(lost=0, speedup=1, size_ratio=1)
QUICK = Score(lost=0.4, speedup=2, size_ratio=1)
SMALL = Score(lost=0.4, speedup=1.1, size_ratio=4)
WRONG = Score(lost=30, speedup=9, size_ratio=9)
WORSE = Score(lost=0.5, speedup=1.9, size_ratio=1)
ALL = [ORIGINAL, QUICK, SMALL, WRONG, WORSE]


def test_the_front_is_what_nothing_beats() -> None:
    assert front(ALL) == [True, True, True, True, False]
    assert not beats(QUICK, QUICK)
    assert beats(QUICK, WORSE)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(max_drop=1), 1),
        (Budget(max_drop=1, objective=Objective.SIZE), 2),
        (Budget(max_drop=0.1), None),
        (Budget(max_drop=50), 3),
    ],
)
def test_the_budget_chooses(budget: Budget, expected: int | None) -> None:
    assert best(ALL, budget) == expected


def test_a_fast_wrong_model_gains_nothing() -> None:
    assert gain(WRONG, Budget(max_drop=0.5)) == 0
    assert "30.00 lost, 0.5 allowed" in reason(WRONG, Budget(max_drop=0.5), chosen=False, on_front=True)


def test_every_candidate_is_explained() -> None:
    budget = Budget(max_drop=1)
    told = [
        reason(score, budget, chosen=score is QUICK, on_front=kept) for score, kept in zip(ALL, front(ALL), strict=True)
    ]
    assert [sentence.split()[0] for sentence in told] == ["Dropped:", "Chosen:", "Kept", "Dropped:", "Dropped:"]
