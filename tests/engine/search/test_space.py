"""What is proposed, and when, given what was found: made-up scores for the candidates, no model is run."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.engine import models
from whetstone.contract.factorization import Factorize
from whetstone.contract.jobs import Budget, Objective
from whetstone.contract.learning import Finetune
from whetstone.contract.losses import SoftLabels
from whetstone.contract.pruning import Granularity, Prune
from whetstone.contract.quantization import Activations, Partial, Precision, Quantize
from whetstone.contract.substitution import Rule, Substitute
from whetstone.contract.targets import GraphOptimization, RuntimeSettings, Target
from whetstone.contract.trials import Mark, Proposal, Score, Trial
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import layers_of
from workers.engine.search.board import Board, Recipe
from workers.engine.search.known import START, Known
from workers.engine.search.learned import LONG, SHORT, Lessons
from workers.engine.search.runtime import applies, settings_for
from workers.engine.search.space import proposals

PLAIN = (*START, Quantize())
Judge = Callable[[Recipe], tuple[float, float]]
"""Points lost of one allowed, and times as fast."""


def played(judge: Judge, **fields: object) -> Iterator[Proposal]:
    """Every proposal, each tried as the judge says before the next is asked for."""
    budget = fields.pop("budget", Budget(max_drop=1))
    assert isinstance(budget, Budget)
    board = Board(budget, (Target.ONNXRUNTIME_CPU,))
    defaults = {"graph": lambda _: Graph(models.cnn()), "board": board, "has_data": True, "cores": 4}
    known = Known(**(defaults | fields))  # type: ignore[arg-type]
    for proposal in proposals(known):
        if proposal in board:
            continue
        yield proposal
        lost, speedup = judge(proposal.recipe)
        score = Score(lost=lost, allowed=1, speedup=speedup, size_ratio=speedup, latency_ms=1, size=1)
        settings = proposal.settings or board.settings(Target.ONNXRUNTIME_CPU)
        mark = Mark(target=Target.ONNXRUNTIME_CPU, settings=settings, score=score)
        board.add(Trial(proposal=proposal, marks=(mark,), seconds=1))


def recipes(judge: Judge, **fields: object) -> list[Recipe]:
    return [proposal.recipe for proposal in played(judge, **fields) if proposal.settings is None]


def nothing_helps(_: Recipe) -> tuple[float, float]:
    return 0.0, 1.0


def test_the_cheapest_comes_first_and_nothing_twice() -> None:
    found = list(played(nothing_helps))
    assert found[0] == Proposal(recipe=START)
    assert len(set(found)) == len(found)
    kinds = [proposal.recipe[-1].kind for proposal in found if proposal.settings is None]
    assert [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before] == [
        "simplify", "quantize", "prune", "factorize", "quantize",
    ]  # fmt: skip


def test_a_graph_that_cannot_be_simplified_is_changed_as_it_is() -> None:
    board = Board(Budget(), (Target.ONNXRUNTIME_CPU,))
    board.add(Trial(proposal=Proposal(recipe=START), seconds=1, failed="Output 'y' is no longer what it was."))
    known = Known(lambda _: Graph(models.cnn()), board, has_data=True)
    found = [proposal.recipe for proposal in proposals(known)]
    assert found[0] == START
    assert (Quantize(),) in found
    assert not any(recipe[:1] == START for recipe in found[1:])


def test_layers_are_named_as_they_are_once_simplified() -> None:
    """Of nodes without names the first convolution is called `Conv@0` in one graph, and something else in another."""
    found = recipes(nothing_helps, graph=lambda recipe: Graph(models.cnn() if recipe else models.random_mlp()))
    excluded = {
        name for recipe in found for config in recipe if isinstance(config, Quantize) for name in config.exclude
    }
    assert excluded
    assert excluded <= {layer.name for layer in layers_of(Graph(models.cnn()))}


def hard_swish() -> Graph:
    """A convolution, and hard swish written out."""
    body = """g (float[N,3,8,8] x) => (float[N,16,6,6] y) {
        f = Conv (x, w) a = Add (f, three) c = Clip (a, zero, six) m = Mul (f, c) y = Div (m, six) }"""
    weights = {name: np.array(value, np.float32) for name, value in {"three": 3, "zero": 0, "six": 6}.items()}
    return Graph(models.with_weights(models.parsed(body), **weights, w=np.ones((16, 3, 3, 3), np.float32)))


def substitutes(recipe: Recipe) -> bool:
    return any(isinstance(config, Substitute) for config in recipe)


def test_one_way_to_quantize_is_tried_before_all_rules() -> None:
    """A search of few trials on a graph where many rules find a place must not end without."""
    found = recipes(nothing_helps, graph=lambda _: hard_swish())
    assert [recipe[-1].kind for recipe in found[:4]] == ["simplify", "quantize", "substitute", "quantize"]


def test_a_rule_that_gains_is_added_to_the_best() -> None:
    known = Substitute(rules=(Rule.FUNCTION,))
    found = recipes(
        lambda recipe: (0.0, (1.5 if substitutes(recipe) else 1.0) * (2.0 if recipe[-1:] == PLAIN[-1:] else 1.0)),
        graph=lambda _: hard_swish(),
    )
    assert [recipe for recipe in found if substitutes(recipe)] == [(*START, known), (*START, known, Quantize())]


def test_a_rule_that_gains_nothing_is_tried_once() -> None:
    found = recipes(lambda _: (0.0, 1.0), graph=lambda _: hard_swish())
    assert [recipe for recipe in found if substitutes(recipe)] == [(*START, Substitute(rules=(Rule.FUNCTION,)))]


def test_a_rule_that_saves_what_was_lost_is_kept_though_it_is_slower() -> None:
    known = Substitute(rules=(Rule.FUNCTION,))
    found = recipes(
        lambda recipe: (0.0, 0.9) if substitutes(recipe) else (0.5 if recipe == PLAIN else 5.0, 2.0),
        graph=lambda _: hard_swish(),
    )
    assert (*START, known, Quantize()) in found


@pytest.mark.parametrize("lost", [0.0, 2.0])
def test_more_exact_ways_are_proposed_where_the_plain_one_loses_too_much(lost: float) -> None:
    found = recipes(lambda recipe: (lost if recipe == PLAIN else 0.0, 1.0))
    partial = [recipe for recipe in found if isinstance(recipe[-1], Quantize) and recipe[-1].partial]
    assert partial == ([(*START, Quantize(partial=Partial(max_drop=1, max_trials=8)))] if lost else [])


def test_without_data_nothing_is_proposed_that_needs_it() -> None:
    for recipe in recipes(nothing_helps, has_data=False):
        for config in recipe:
            assert not isinstance(config, Finetune)
            if isinstance(config, Quantize) and config.precision is Precision.INT8:
                assert config.activations in {Activations.DYNAMIC, Activations.NONE}


def quick_but_lossy(recipe: Recipe) -> tuple[float, float]:
    """What cuts is quick and wrong; what learns afterwards is less wrong, the longer the better."""
    cut = next((config for config in recipe if isinstance(config, Prune | Factorize)), None)
    lessons = [config.epochs for config in recipe if isinstance(config, Finetune)]
    quantized = 2.0 if isinstance(recipe[-1], Quantize) and recipe[-1].precision is Precision.INT8 else 1.0
    if cut is None:
        return 0.0, quantized
    share = cut.goal.share if isinstance(cut, Prune) and cut.goal else 0.5
    lost = 6 * (1 - share)
    return (lost / (1 + sum(lessons)), quantized / share)


def test_what_is_quick_and_lossy_learns_by_successive_halving() -> None:
    found = recipes(quick_but_lossy, lessons=Lessons(classes=True, seconds=300))
    lessons = [(recipe[:-1], recipe[-1]) for recipe in found if isinstance(recipe[-1], Finetune)]
    short = [start for start, config in lessons if config.epochs == 1]
    long = [start for start, config in lessons if config.epochs > 1]
    assert len(short) == SHORT
    assert 0 < len(long) <= LONG
    assert set(long) < set(short)
    shares = [start[-1].goal.share for start in short if isinstance(start[-1], Prune) and start[-1].goal]
    assert shares[0] == min(shares)  # the quickest promises most
    assert all(SoftLabels() in config.losses for _, config in lessons)
    for start, config in lessons:  # one epoch is a twentieth of the time, 15 s, of samples of so many ms
        assert config.max_steps_per_epoch == round(15 / (3 * 32 * 0.001 * quick_but_lossy(start)[1]))
    assert max(config.epochs for _, config in lessons) == 30  # a fifth of the time would be 60 of a second each


def test_what_has_learned_enough_is_quantized_in_the_best_way() -> None:
    found = recipes(quick_but_lossy, lessons=Lessons(classes=True, seconds=300))
    ends = [recipe for recipe in found if len(recipe) == 4 and isinstance(recipe[-1], Quantize)]
    assert ends
    assert all(isinstance(recipe[2], Finetune) for recipe in ends)
    assert {recipe[-1] for recipe in ends} <= {recipe[-1] for recipe in found if len(recipe) == 2}


def test_where_nothing_can_be_learned_less_of_the_same_is_not_tried_after_it_lost_too_much() -> None:
    found = recipes(lambda recipe: (2.0 if isinstance(recipe[-1], Prune | Factorize) else 0.0, 1.0))
    assert len([recipe for recipe in found if isinstance(recipe[-1], Prune)]) == 1
    assert len([recipe for recipe in found if isinstance(recipe[-1], Factorize)]) == 1


def test_a_quantized_graph_that_is_quick_and_lossy_learns_its_scales() -> None:
    found = recipes(
        lambda recipe: (3.0 / len(recipe) if isinstance(recipe[1:2] and recipe[1], Quantize) else 0.0, 2.0),
        lessons=Lessons(classes=False, seconds=300),
    )
    learned = [recipe[-1] for recipe in found if len(recipe) == 3 and recipe[1] == Quantize()]
    assert learned
    assert all(isinstance(config, Finetune) and config.learn_scales and not config.losses for config in learned)


def test_heads_go_only_where_there_is_attention() -> None:
    body = """g (float[N,4,8] x) => (float[N,4,8] y) {
        q = MatMul(x, wq) k = MatMul(x, wk) t = Transpose <perm = [0,2,1]> (k) s = MatMul(q, t)
        p = Softmax <axis = -1> (s) v = MatMul(x, wv) y = MatMul(p, v)
    }"""

    def heads(graph: Graph) -> int:
        cuts = [recipe[-1] for recipe in recipes(nothing_helps, graph=lambda _, graph=graph: graph)]
        return sum(isinstance(cut, Prune) and cut.granularity is Granularity.HEAD for cut in cuts)

    assert heads(Graph(models.cnn())) == 0
    assert heads(Graph(models.random_mlp(softmax=True))) == 0
    assert heads(Graph(models.parsed(body))) > 0


def test_what_one_target_cannot_run_is_judged_on_the_others() -> None:
    board = Board(Budget(), (Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU))
    fine = Score(lost=0, allowed=1, speedup=2, size_ratio=1, latency_ms=1, size=1)
    marks = (Mark(target=Target.ONNXRUNTIME_CPU, score=fine), Mark(target=Target.OPENVINO_CPU, failed="no"))
    assert not board.lossy(PLAIN)
    board.add(Trial(proposal=Proposal(recipe=PLAIN), marks=marks, seconds=1))
    assert not board.lossy(PLAIN)
    assert board.promise(PLAIN) == 2
    assert board.best(Target.OPENVINO_CPU) is None
    board.add(Trial(proposal=Proposal(recipe=PLAIN), marks=marks[1:], seconds=1))
    assert board.lossy(PLAIN)


def test_settings_are_tried_on_the_best_so_far() -> None:
    found = list(played(lambda recipe: (0.0, 3.0 if recipe == PLAIN else 1.1)))
    told = [(proposal.recipe, proposal.settings) for proposal in found if proposal.settings]
    assert {recipe for recipe, _ in told} == {START, PLAIN}
    assert (PLAIN, RuntimeSettings(threads=1)) in told
    size = played(nothing_helps, budget=Budget(objective=Objective.SIZE))
    assert not [proposal for proposal in size if proposal.settings]


def test_each_runtime_is_told_what_it_knows() -> None:
    both = (Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU)
    basic = RuntimeSettings(graph_optimization=GraphOptimization.BASIC)
    assert applies(Target.ONNXRUNTIME_CPU, basic)
    assert not applies(Target.OPENVINO_CPU, basic)
    assert [s.threads for s in settings_for(both, Objective.LATENCY, 4)] == [None, 1, 2, None, None]
    assert [s.streams for s in settings_for(both[1:], Objective.THROUGHPUT, 4)] == [None, 2, 4]
    assert [s.threads for s in settings_for(both[1:], Objective.LATENCY, 1)] == [None]
