"""Which candidates are kept, and which is chosen."""

import pytest

from whetstone.contract.jobs import Budget, Objective
from whetstone.contract.trials import Score
from workers.engine.search.front import beats, best, front, gain, nearest_miss, reason


def score(**fields: float) -> Score:
    """On an original of 10 ms and 10 MB; `lost` may be 1."""
    known = {"lost": 0.0, "allowed": 1.0, "speedup": 1.0, "size_ratio": 1.0} | fields
    latency, size = 10 / known["speedup"], 1e7 / known["size_ratio"]
    return Score.model_validate({"latency_ms": latency, "size": round(size), **known})


ORIGINAL = score()
QUICK = score(lost=0.4, speedup=2)
SMALL = score(lost=0.4, speedup=1.1, size_ratio=4)
WRONG = score(lost=30, speedup=9, size_ratio=9)
WORSE = score(lost=0.5, speedup=1.9)
ALL = [ORIGINAL, QUICK, SMALL, WRONG, WORSE]


def test_the_front_is_what_nothing_beats() -> None:
    assert front(ALL) == [True, True, True, True, False]
    assert not beats(QUICK, QUICK)
    assert beats(QUICK, WORSE)


def named(scores: list[Score], **changes: float) -> dict[int, Score]:
    return {index: one.model_copy(update=changes) for index, one in enumerate(scores)}


@pytest.mark.parametrize(
    ("budget", "allowed", "expected"),
    [
        (Budget(), 1, 1),
        (Budget(objective=Objective.SIZE), 1, 2),
        (Budget(), 0.1, None),
        (Budget(), 50, 3),
        (Budget(max_size_mb=5), 1, 2),  # the only one within the limit
        (Budget(max_latency_ms=4), 1, 1),  # none is: the nearest
        (Budget(max_latency_ms=6, objective=Objective.SIZE), 1, 2),  # the only smaller one
    ],
)
def test_the_budget_chooses(budget: Budget, allowed: float, expected: int | None) -> None:
    assert best(named(ALL, allowed=allowed), budget) == expected


def test_of_gains_that_are_alike_the_one_that_lost_less_is_chosen() -> None:
    close = {"quicker": score(speedup=2.04, lost=0.9), "safer": score(speedup=2.02, lost=0.1)}
    assert best(close, Budget()) == "safer"
    assert best(close | {"quickest": score(speedup=2.2, lost=0.9)}, Budget()) == "quickest"


def test_a_small_file_that_crawls_is_not_chosen() -> None:
    smaller = Budget(objective=Objective.SIZE)
    crawling = score(size_ratio=8, speedup=0.2)
    assert best({"crawling": crawling, "brisk": score(size_ratio=3, speedup=0.9)}, smaller) == "brisk"
    assert "too slow" in reason(crawling, smaller, chosen=False, on_front=True)
    assert best({"crawling": crawling}, smaller.model_copy(update={"max_slowdown": 6})) == "crawling"


def test_of_files_of_one_size_the_quicker_is_chosen() -> None:
    alike = {"slow": score(size_ratio=4, speedup=0.8), "quick": score(size_ratio=3.98, speedup=1.5, lost=0.3)}
    assert best(alike, Budget(objective=Objective.SIZE)) == "quick"


def test_memory_counts_where_it_is_asked_for() -> None:
    lean = score(memory_ratio=1.5, speedup=0.9)
    assert best({"lean": lean, "same": score(memory_ratio=1.01)}, Budget(objective=Objective.MEMORY)) == "lean"
    assert best({"same": score(memory_ratio=1.01)}, Budget(objective=Objective.MEMORY)) is None


def test_a_fast_wrong_model_gains_nothing() -> None:
    assert gain(WRONG, Budget()) == 0
    assert "30.00 lost, 1 allowed" in reason(WRONG, Budget(), chosen=False, on_front=True)


def test_every_candidate_is_explained() -> None:
    told = [
        reason(one, Budget(), chosen=one is QUICK, on_front=kept) for one, kept in zip(ALL, front(ALL), strict=True)
    ]
    assert [sentence.split()[0] for sentence in told] == ["Dropped:", "Chosen:", "Kept", "Dropped:", "Dropped:"]
    brief = reason(WORSE.model_copy(update={"full": False}), Budget(), chosen=False, on_front=False)
    assert brief.startswith("Dropped after a brief look: another serves the budget better")
    over = Budget(max_latency_ms=4)
    assert reason(QUICK, over, chosen=True, on_front=True).startswith("Chosen, though it misses a limit")
    assert "over a limit, at 5.26 ms" in reason(WORSE, over, chosen=False, on_front=False)


def test_the_nearest_miss_is_named_only_where_every_candidate_misses() -> None:
    scores = named(ALL)
    assert nearest_miss(scores, Budget()) is None
    assert nearest_miss(scores, Budget(max_latency_ms=6)) is None
    assert nearest_miss(scores, Budget(max_latency_ms=4)) == 1
    assert nearest_miss(scores, Budget(max_latency_ms=2, max_size_mb=2)) == 2
    barely = score(lost=1.2, speedup=9, size_ratio=9)
    assert nearest_miss({**scores, "barely": barely}, Budget(max_latency_ms=2, max_size_mb=2)) == "barely"
