"""Recipes as a search makes them: what learns has the original as its teacher, and no prefix is made twice."""

from pathlib import Path

import pytest

from tests.engine import models
from whetstone.contract.jobs import Budget
from whetstone.contract.learning import Finetune
from whetstone.contract.pruning import Goal, Granularity, Measure, Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.targets import Target
from whetstone.contract.trials import Mark, Proposal, Score, Trial
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.search.board import Board, Recipe
from workers.engine.search.kitchen import SHELVES, Kitchen
from workers.engine.search.known import START
from workers.engine.search.learned import Lessons, recovered

HALF = Prune(granularity=Granularity.CHANNEL, sparsity=None, goal=Goal(of=Measure.MACS, share=0.2))


def lesson(recipe: Recipe, *, classes: bool) -> Recipe:
    """The first one that a search gives a recipe that was quick and lossy."""
    board = Board(Budget(), (Target.ONNXRUNTIME_CPU,))
    score = Score(lost=9, allowed=1, speedup=2, size_ratio=1, latency_ms=1, size=1)
    mark = Mark(target=Target.ONNXRUNTIME_CPU, score=score)
    board.add(Trial(proposal=Proposal(recipe=recipe), marks=(mark,), seconds=1))
    return next(recovered(board, Lessons(classes=classes, seconds=60), [recipe]))


@pytest.fixture
def kitchen(trained: Graph, digits: Samples, tmp_path: Path) -> Kitchen:
    return Kitchen(trained, digits, tmp_path, threads=1)


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("change", [HALF, Quantize()])
def test_what_was_cut_or_quantized_learns_from_the_original(
    kitchen: Kitchen,
    digits: Samples,
    change: Prune | Quantize,
    classes: bool,  # noqa: FBT001 - both are tried
) -> None:
    recipe = lesson((*START, change), classes=classes)
    made = kitchen.make(recipe, lambda _: None)
    assert [report.config for report in made.passes] == list(recipe)
    assert ("The teacher was the original model." in made.passes[-1].notes) == classes  # else the labels alone
    assert models.accuracy(made.graph, digits) > 0.85
    assert isinstance(recipe[-1], Finetune)


def test_no_pass_runs_twice(kitchen: Kitchen) -> None:
    first = kitchen.make((*START, HALF), lambda _: None)
    told: list[str] = []
    again = kitchen.make((*START, HALF), told.append)
    quantized = kitchen.make((*START, HALF, Quantize()), told.append)
    assert again.passes is first.passes
    assert again.graph.model == first.graph.model
    assert quantized.passes[:2] == first.passes  # to the second that each took


def test_only_so_many_graphs_are_kept(kitchen: Kitchen, tmp_path: Path) -> None:
    recipes = [(Quantize(calibration_samples=count),) for count in range(1, SHELVES + 3)]
    for recipe in recipes:
        kitchen.make(recipe, lambda _: None)
    assert len(list(tmp_path.glob("made-*.onnx"))) == SHELVES
    assert kitchen.make(recipes[0], lambda _: None).passes[0].config == recipes[0][0]
