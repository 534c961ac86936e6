"""Every branch of the judgement."""

import pytest

from tests.engine.report.factory import accuracy, fidelity, latency, measured
from whetstone.contract.jobs import Assurance, Budget, Objective
from whetstone.contract.metrics import Metric
from whetstone.contract.reports import Accuracy, Conditions, Estimate, VerdictKind
from workers.engine.measure.verdict import Evidence, judge, judge_built

FASTER = Estimate(value=2, low=1.9, high=2.1)
UNSURE = Estimate(value=1.05, low=0.97, high=1.1)
CRAWLS = Estimate(value=0.25, low=0.24, high=0.26)
PERHAPS_SLOW = Estimate(value=0.45, low=0.3, high=0.6)
KEPT = accuracy(drop=Estimate(value=0.1, low=-0.3, high=0.6))
LOST = accuracy(drop=Estimate(value=0.9, low=0.4, high=1.4))
SMALLER, SAME = measured(size=1_000_000), measured(size=4_000_000)


def conditions(*reasons: str) -> Conditions:
    return Conditions(
        batch_size=1,
        threads=2,
        rounds=60,
        warmup_runs=10,
        seconds=5,
        load_before=0,
        valid=not reasons,
        invalid_because=reasons,
    )


def evidence(**changes: object) -> Evidence:
    seen: dict[str, object] = {
        "original": SAME,
        "result": SMALLER,
        "speedup": FASTER,
        "accuracy": KEPT,
        "fidelity": fidelity(),
        "conditions": conditions(),
    }
    return Evidence(**(seen | changes))  # type: ignore[arg-type]


SIZE = Budget(objective=Objective.SIZE)
MORE_ACCURATE = Budget(objective=Objective.ACCURACY)
GAINED_MUCH = accuracy(drop=Estimate(value=-20, low=-22, high=-18))
INTERVAL = Budget(assurance=Assurance.INTERVAL)
NO_LABELS = {"accuracy": None, "fidelity": fidelity(agreement=Estimate(value=99.2, low=98.9, high=99.4))}
NO_DECISION = {"accuracy": None, "fidelity": fidelity(agreement=None, cosine=0.99)}
RISEN = accuracy(Metric.MSE, drop=Estimate(value=7, low=5, high=9))
THROUGHPUT, MEMORY = Budget(objective=Objective.THROUGHPUT), Budget(objective=Objective.MEMORY)
LEAN, FAT = (SMALLER.model_copy(update={"peak_memory": size}) for size in (50_000_000, 100_000_000))
GAINED = accuracy(drop=Estimate(value=-1, low=-2, high=0))
POOR = GAINED.model_copy(update={"original": 0.8, "result": 0.81})
CASES = [
    (
        THROUGHPUT,
        {},
        VerdictKind.IMPROVED,
        "2 times as fast (95% interval 1.9 to 2.1) in samples a second, and 4 times",
    ),
    (THROUGHPUT, {"speedup": UNSURE}, VerdictKind.NO_GAIN, "not faster with confidence"),
    (MEMORY, {"original": FAT, "result": LEAN}, VerdictKind.IMPROVED, "need of 50 MB of memory, the original's 100 MB"),
    (MEMORY, {"original": FAT, "result": FAT}, VerdictKind.NO_GAIN, "its process takes 100 MB of memory"),
    (Budget(min_accuracy=0.9021), {}, VerdictKind.IMPROVED, "0.1 points of accuracy lost (0.5 allowed)"),
    (Budget(min_accuracy=0.8), {"accuracy": LOST}, VerdictKind.IMPROVED, "0.9 points of accuracy lost (10.7 allowed)"),
    (Budget(min_accuracy=0.8, max_drop=0.5), {"accuracy": LOST}, VerdictKind.NO_GAIN, "0.5 allowed"),
    (Budget(min_accuracy=0.9061), {"accuracy": LOST}, VerdictKind.NO_GAIN, "0.9 points of accuracy lost, 0.1 allowed"),
    (Budget(min_accuracy=0.9), {"accuracy": POOR}, VerdictKind.OVER_BUDGET, "0.81 is below min_accuracy (0.9), as is"),
    (Budget(min_accuracy=0.9), NO_LABELS, VerdictKind.NO_GAIN, "0.5 allowed"),
    (
        Budget(),
        {},
        VerdictKind.IMPROVED,
        "2 times as fast (95% interval 1.9 to 2.1) and 4 times smaller, with 0.1 points",
    ),
    (
        Budget(),
        {"accuracy": accuracy(drop=Estimate(value=-1, low=-2, high=0))},
        VerdictKind.IMPROVED,
        "1 points of accuracy gained",
    ),
    (Budget(), {"accuracy": LOST}, VerdictKind.NO_GAIN, "0.9 points of accuracy lost, 0.5 allowed"),
    (
        INTERVAL,
        {},
        VerdictKind.NO_GAIN,
        "0.1 points of accuracy lost, but it may be up to 0.6 (95% interval -0.3 to 0.6)",
    ),
    (INTERVAL.model_copy(update={"max_drop": 0.6}), {}, VerdictKind.IMPROVED, "0.6 allowed"),
    (Budget(), {"accuracy": RISEN}, VerdictKind.NO_GAIN, "7 percent of mean squared error lost"),
    (Budget(max_drop=8), {"accuracy": RISEN}, VerdictKind.IMPROVED, "7 percent of mean squared error"),
    (Budget(), NO_LABELS, VerdictKind.NO_GAIN, "0.8 points of agreement with the original lost"),
    (Budget(max_drop=1), NO_LABELS, VerdictKind.IMPROVED, "0.8 points of agreement with the original lost"),
    (Budget(max_drop=1, assurance=Assurance.INTERVAL), NO_LABELS, VerdictKind.NO_GAIN, "up to 1.1"),
    (Budget(), NO_DECISION, VerdictKind.NO_GAIN, "1 percent of cosine similarity to the original lost"),
    (Budget(max_drop=1.01), NO_DECISION, VerdictKind.IMPROVED, "1 percent of cosine similarity"),
    (Budget(), {"speedup": UNSURE}, VerdictKind.NO_GAIN, "not faster with confidence, it is 1.05 times as fast"),
    (Budget(), {"conditions": conditions("noisy: others")}, VerdictKind.NO_GAIN, "cannot be relied on (noisy: others)"),
    (SIZE, {"speedup": UNSURE}, VerdictKind.IMPROVED, "The result is 4 times smaller and 1.05 times as fast"),
    (SIZE, {"conditions": conditions("noisy")}, VerdictKind.IMPROVED, "4 times smaller"),
    (SIZE, {"speedup": CRAWLS}, VerdictKind.NO_GAIN, "the result takes 4 times as long (max_slowdown 2)"),
    (SIZE.model_copy(update={"max_slowdown": 5}), {"speedup": CRAWLS}, VerdictKind.IMPROVED, "4 times smaller"),
    (SIZE, {"speedup": PERHAPS_SLOW}, VerdictKind.IMPROVED, "4 times smaller"),
    (SIZE, {"result": SAME}, VerdictKind.NO_GAIN, "the result is of the same size"),
    (SIZE, {"result": measured(size=5_000_000)}, VerdictKind.NO_GAIN, "the result is 1.25 times larger"),
    (Budget(max_latency_ms=2), {}, VerdictKind.IMPROVED, "2 times as fast"),
    (MORE_ACCURATE, {"accuracy": GAINED_MUCH, "speedup": UNSURE}, VerdictKind.IMPROVED, "20 points of accuracy gained"),
    (MORE_ACCURATE, {}, VerdictKind.NO_GAIN, "not more accurate with confidence (95% interval -0.6 to 0.3 gained)"),
    (MORE_ACCURATE, {"accuracy": None}, VerdictKind.NO_GAIN, "no labels to show by"),
    (
        Budget(max_latency_ms=0.8),
        {},
        VerdictKind.OVER_BUDGET,
        "its p50 of 1 ms is 25% over max_latency_ms (0.8 ms); the result is",
    ),
    (Budget(max_size_mb=0.5), {}, VerdictKind.OVER_BUDGET, "its 1 MB are 100% over max_size_mb (0.5 MB)"),
    (Budget(max_size_mb=1), {}, VerdictKind.IMPROVED, "smaller"),
    (Budget(max_size_mb=0.9, max_latency_ms=0.9), {}, VerdictKind.OVER_BUDGET, "(0.9 ms) and its 1 MB are 11% over"),
    (
        SIZE.model_copy(update={"max_latency_ms": 2}),
        {"conditions": conditions("noisy")},
        VerdictKind.OVER_BUDGET,
        "cannot be shown",
    ),
    (
        Budget(max_latency_ms=2),
        {"result": measured(size=1_000_000, latency=latency(samples=5))},
        VerdictKind.OVER_BUDGET,
        "cannot be shown to keep max_latency_ms (2 ms)",
    ),
]


@pytest.mark.parametrize(("budget", "changes", "kind", "words"), CASES)
def test_judgement(budget: Budget, changes: dict[str, object], kind: VerdictKind, words: str) -> None:
    verdict = judge(budget, evidence(**changes))
    assert verdict.kind is kind
    assert words in verdict.reason
    assert verdict.reason.startswith("The original is returned: ") == (kind is VerdictKind.NO_GAIN)
    assert verdict.reason.endswith(".")
    assert verdict.reason.count("\n") == 0


def test_harm_is_told_before_speed() -> None:
    assert "accuracy" in judge(Budget(), evidence(accuracy=LOST, speedup=UNSURE)).reason


@pytest.mark.parametrize(
    ("budget", "seen", "kind", "says"),
    [
        (Budget(), KEPT, VerdictKind.BUILT, "its speed is not known; 0.1 points of accuracy lost (0.5 allowed)"),
        (Budget(), LOST, VerdictKind.NO_GAIN, "The original is built: 0.9 points of accuracy lost, 0.5 allowed"),
        (Budget(max_size_mb=1), KEPT, VerdictKind.OVER_BUDGET, "Built, not run, and its 2 MB are 100% over"),
        (Budget(max_latency_ms=3), KEPT, VerdictKind.BUILT, "max_latency_ms (3 ms) was not checked"),
        (MORE_ACCURATE, KEPT, VerdictKind.NO_GAIN, "not more accurate"),
        (Budget(min_accuracy=0.95), POOR, VerdictKind.OVER_BUDGET, "below min_accuracy"),
        (Budget(), None, VerdictKind.BUILT, "points of agreement"),
    ],
)
def test_an_engine_that_is_not_run_is_judged_by_its_size_and_its_graph(
    budget: Budget, seen: Accuracy | None, kind: VerdictKind, says: str
) -> None:
    verdict = judge_built(budget, 2_000_000, seen, fidelity())
    assert verdict.kind is kind
    assert says in verdict.reason
    assert "in onnxruntime on the CPU" in verdict.reason
    assert "times as fast" not in verdict.reason
