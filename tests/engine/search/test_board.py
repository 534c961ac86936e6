"""What is kept beside the best, in case the best loses too much on samples that it was not chosen by."""

import pytest

from whetstone.contract.jobs import Budget
from whetstone.contract.quantization import Calibrator, Quantize
from whetstone.contract.targets import Target
from whetstone.contract.trials import Mark, Proposal, Score, Trial
from workers.engine.search.board import Board

TARGET = Target.ONNXRUNTIME_CPU
BEST, CALM, SURE = (Proposal(recipe=(Quantize(calibrator=calibrator),)) for calibrator in list(Calibrator)[:3])


def trial(proposal: Proposal, speedup: float, lost: float, at_most: float | None) -> Trial:
    score = Score(lost=lost, at_most=at_most, allowed=1, speedup=speedup, size_ratio=1, latency_ms=1, size=1)
    return Trial(proposal=proposal, marks=(Mark(target=TARGET, score=score),), seconds=1)


@pytest.mark.parametrize(
    ("sure", "kept"),
    [((0.4, 0.9), SURE), ((0.4, 1.1), CALM), ((0.6, 0.9), CALM), ((0.4, None), SURE)],
    ids=["with confidence", "of few samples", "close to the limit", "without an interval"],
)
def test_what_keeps_to_the_limit_with_confidence_is_the_safer_choice(
    sure: tuple[float, float | None], kept: Proposal
) -> None:
    lost, at_most = sure
    tried = trial(BEST, 3.0, 0.9, 2.0), trial(CALM, 2.0, 0.1, 1.5), trial(SURE, 1.5, lost, at_most)
    board = Board(Budget(max_drop=1), (TARGET,))
    for one in tried:
        board.add(one)
    assert board.best(TARGET) == BEST
    assert board.safe(TARGET) == kept
