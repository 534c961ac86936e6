"""Exact sparsity, by rank, at once or while learning."""

from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from tests.engine import models
from tests.engine.models import Array, accuracy
from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import Learning
from whetstone.contract.pruning import Criterion, Granularity, Normalization, Polynomial, Prune, Scope
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_nonzero
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.prune import PrunePass
from workers.engine.passes.pruning.magnitude import kth_smallest
from workers.engine.passes.pruning.schedule import is_due, sparsity_at
from workers.engine.passes.pruning.scores import normalized


def zeros(graph: Graph, name: str) -> int:
    return int((graph.weight(name) == 0).sum())


def test_kth_smallest_is_what_sorting_gives() -> None:
    scores = np.abs(np.random.default_rng(0).standard_normal(5000)).astype(np.float32)
    scores[:100] = scores[100]  # ties
    for count in (1, 2, 77, 2500, 5000):
        assert kth_smallest(lambda: np.split(scores, 5), count) == np.sort(scores)[count - 1]


@pytest.mark.parametrize("criterion", [Criterion.L1, Criterion.L2])
def test_global_sparsity_is_exact_and_takes_the_smallest(context: Context, criterion: Criterion) -> None:
    graph = Graph(models.random_mlp())
    after = PrunePass(Prune(sparsity=0.7, criterion=criterion)).apply(graph, None, context).graph
    total = 784 * 16 + 160
    assert zeros(after, "w1") + zeros(after, "w2") == round(0.7 * total)
    old = np.concatenate([np.abs(graph.weight(n)).ravel() for n in ("w1", "w2")])
    new = np.concatenate([after.weight(n).ravel() for n in ("w1", "w2")])
    assert old[new == 0].max() <= old[new != 0].min()
    assert count_nonzero(graph) == total + 26
    assert (after.weight("b1") == graph.weight("b1")).all()


def test_layer_scope_prunes_each_alike(context: Context) -> None:
    after = PrunePass(Prune(sparsity=0.5, scope=Scope.LAYER)).apply(Graph(models.random_mlp()), None, context).graph
    assert (zeros(after, "w1"), zeros(after, "w2")) == (784 * 8, 80)


@pytest.mark.parametrize("name", ["gemm_logits", "w2"])
def test_excluded_layer_or_weight_is_left_alone(context: Context, name: str) -> None:
    outcome = PrunePass(Prune(sparsity=0.5, exclude=(name,))).apply(Graph(models.random_mlp()), None, context)
    assert (zeros(outcome.graph, "w1"), zeros(outcome.graph, "w2")) == (784 * 8, 0)
    assert [(change.change, change.kept_because) for change in outcome.layers] == [
        ("pruned", None),
        ("left alone", "it is excluded"),
    ]


def test_unknown_name_is_an_error_that_tells_the_nearest(context: Context) -> None:
    with pytest.raises(EngineError, match="'gemm_logit'; the nearest name is 'gemm_logits'"):
        PrunePass(Prune(exclude=("gemm_logit",))).apply(Graph(models.random_mlp()), None, context)


def test_many_equal_weights_are_still_counted_exactly(context: Context) -> None:
    body = "g (float[N,10] x) => (float[N,10] y) { h = MatMul(x, w) y = MatMul(h, w) }"
    graph = Graph(models.with_weights(models.parsed(body), w=np.ones((10, 10), np.float32)))
    outcome = PrunePass(Prune(sparsity=0.33)).apply(graph, None, context)
    assert zeros(outcome.graph, "w") == 33
    assert "in 1 tensors" in outcome.summary


def test_weights_in_constant_nodes_are_pruned(context: Context) -> None:
    after = PrunePass(Prune(sparsity=0.5)).apply(Graph(models.matmul_as_constant()), None, context).graph
    assert zeros(after, "w") == 6


def test_nothing_to_prune(context: Context) -> None:
    with pytest.raises(EngineError) as caught:
        PrunePass(Prune()).apply(Graph(models.relu()), None, context)
    assert caught.value.code == FailureCode.NOTHING_TO_DO


SCHEDULE = Polynomial(initial_sparsity=0.1, begin_step=5, end_step=60, every=10, learning=Learning(epochs=1))


def test_schedule_rises_from_initial_to_final() -> None:
    values = [sparsity_at(step, SCHEDULE, 0.8) for step in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert values[60:] == [0.8] * 40
    assert all(a <= b for a, b in pairwise(values))
    assert values[32] > 0.1 + 0.7 / 2  # most of the pruning comes early
    assert [step for step in range(100) if is_due(step, SCHEDULE)] == [5, 15, 25, 35, 45, 55, 60]


def test_pruning_while_learning_keeps_accuracy_better(trained: Graph, digits: Samples, context: Context) -> None:
    at_once = PrunePass(Prune(sparsity=0.9)).apply(trained, digits, context)
    outcome = PrunePass(Prune(sparsity=0.9, schedule=SCHEDULE)).apply(trained, digits, context)
    total = 784 * 128 + 1280
    for result in (at_once, outcome):
        assert zeros(result.graph, "w1") + zeros(result.graph, "w2") == round(0.9 * total)
    assert accuracy(outcome.graph, digits) > accuracy(at_once.graph, digits)
    sparsity = next(curve for curve in outcome.curves if curve.name == "sparsity")
    assert sparsity.x[-1] == 60
    assert list(sparsity.y) == sorted(sparsity.y)


def test_schedule_needs_labels(context: Context) -> None:
    with pytest.raises(EngineError, match="train split and labels"):
        PrunePass(Prune(schedule=SCHEDULE)).apply(Graph(models.random_mlp()), None, context)


PATTERNS = """g (float[N,8,6,6] x) => (float[N,16] y) {
    c = Conv <kernel_shape = [3,3]> (x, k)
    f = Flatten(c)
    h = Gemm <transB = 1> (f, turned)
    y = MatMul(h, m)
}"""


def patterned(of: str, context: Context, **weights: Array) -> tuple[Graph, Graph]:
    random = np.random.default_rng(0)
    shapes = {"k": (12, 8, 3, 3), "turned": (24, 192), "m": (24, 16)}
    values = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()} | weights
    graph = Graph(models.with_weights(models.parsed(PATTERNS), **values))
    config = Prune.model_validate({"granularity": "n_m", "pattern": of})
    return graph, PrunePass(config).apply(graph, None, context).graph


@pytest.mark.parametrize(("pattern", "of"), [("2:4", 4), ("4:8", 8)])
def test_pattern_runs_along_what_a_product_sums_over(context: Context, pattern: str, of: int) -> None:
    before, after = patterned(pattern, context)
    for name, axis in (("k", 1), ("turned", 1), ("m", 0)):
        old, new = (np.moveaxis(graph.weight(name), axis, -1).reshape(-1, of) for graph in (before, after))
        kept = new != 0
        assert (kept.sum(1) == of // 2).all()
        assert (np.where(kept, np.inf, np.abs(old)).min(1) <= np.where(kept, np.abs(old), np.inf).min(1)).all()
        assert (new[kept] == old[kept]).all()


def test_weight_whose_length_does_not_fit_the_pattern_is_kept(context: Context) -> None:
    graph = Graph(models.random_mlp(hidden=18))
    outcome = PrunePass(Prune(granularity=Granularity.N_M)).apply(graph, None, context)
    assert zeros(outcome.graph, "w1") == 784 * 9
    assert outcome.layers[1].kept_because == "its 18 inputs are no multiple of 4"
    assert "GPUs with sparse tensor cores" in outcome.notes[0]


def test_taylor_spares_what_the_loss_depends_on(trained: Graph, digits: Samples, context: Context) -> None:
    """The corners of the images are always black: no weight of theirs changes the loss, however large it is."""
    graph = trained.copy()
    black = np.flatnonzero(np.zeros((28, 28)) + (np.arange(28) < 2))
    values = np.array(graph.weight("w1"))
    values[black] = 9
    graph.set_weight("w1", values)
    config = Prune(sparsity=0.5, criterion=Criterion.TAYLOR, exclude=("w2",))
    after = PrunePass(config).apply(graph, digits, context).graph
    assert not np.asarray(after.weight("w1"))[black].any()
    assert accuracy(after, digits) > accuracy(graph, digits) - 0.02


def test_lamp_is_a_square_over_the_squares_that_are_no_smaller() -> None:
    scores = np.array([[3.0, 0.0], [1.0, 2.0]])
    expected = [[9 / 9, 0.0], [1 / 14, 4 / 13]]
    assert normalized(scores, Normalization.LAMP) == pytest.approx(np.array(expected))


def test_random_pruning_follows_the_seed(context: Context) -> None:
    def kept(seed: int) -> Array:
        config = Prune(sparsity=0.5, criterion=Criterion.RANDOM, seed=seed)
        return np.asarray(PrunePass(config).apply(Graph(models.random_mlp()), None, context).graph.weight("w1"))

    assert np.array_equal(kept(1), kept(1))
    assert not np.array_equal(kept(1), kept(2))


def test_sensitivity_of_single_weights(trained: Graph, digits: Samples, context: Context) -> None:
    outcome = PrunePass(Prune(sparsity=0.5, sensitivity=True)).apply(trained, digits, context)
    assert [curve.name for curve in outcome.curves] == ["gemm_h0", "gemm_logits"]
    for curve in outcome.curves:
        assert list(curve.y) == sorted(curve.y)
        assert curve.y[0] == 0 < curve.y[-1]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"goal": {"of": "macs", "share": 0.5}}, "for granularity channel or head"),
        ({"sparsity": 0.5, "goal": {"of": "macs", "share": 0.5}, "granularity": "head"}, "either a sparsity or a goal"),
        ({"criterion": "batch_norm"}, "for granularity channel"),
        ({"granularity": "n_m", "sparsity": 0.7}, "0.5 by its pattern"),
        ({"granularity": "n_m", "scope": "layer"}, "leave out normalization, scope and schedule"),
        ({"granularity": "channel", "pattern": "2:4"}, "pattern is for granularity n_m"),
        ({"granularity": "channel", "criterion": "taylor", "normalization": "equalized"}, "for criterion l1 or l2"),
        ({"granularity": "head", "criterion": "batch_norm"}, "heads have no batch-norm"),
        (
            {"granularity": "channel", "reconstruct": True, "schedule": {"kind": "polynomial"}},
            "a schedule that learns has already fitted",
        ),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Prune.model_validate(settings)
