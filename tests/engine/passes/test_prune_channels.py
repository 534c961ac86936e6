"""Channels and heads that go: which ones, how many, and what is left of the model."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.engine import models
from tests.engine.graph.channels.networks import BLOCKS, SIDE, attention, grown, lstm, silenced
from tests.engine.models import Array, accuracy
from whetstone.contract.failures import FailureCode
from whetstone.contract.learning import Learning
from whetstone.contract.pruning import Criterion, Goal, Granularity, Measure, Normalization, Polynomial, Prune, Scope
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.channels.groups import Channels, find_channels
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_params
from workers.engine.graph.macs import count_macs
from workers.engine.passes.goal import OutOfReach
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.prune import PrunePass

RANDOM = np.random.default_rng(0)


def channel(**settings: object) -> Prune:
    return Prune.model_validate({"granularity": "channel", **settings})


def pruned(graph: Graph, config: Prune, context: Context, data: Samples | None = None) -> Graph:
    return PrunePass(config).apply(graph, data, context).graph


def macs(graph: Graph) -> int:
    found = count_macs(graph)
    assert found
    return found


def network(*blocks: Callable[..., None]) -> Graph:
    return grown([BLOCKS.index(block) for block in blocks], flat=False, seed=3)


def half_silent(graph: Graph) -> tuple[Channels, Graph]:
    """The graph with every second unit of every group at zero."""
    channels = find_channels(graph)
    units = {unit for group in channels.groups for unit in group.units[::2]}
    return channels, silenced(channels, units, roles=set(Role))


def same_outputs(before: Graph, after: Graph) -> bool:
    x = RANDOM.standard_normal((4, 3, SIDE, SIDE)).astype(np.float32)
    (expected,), (found,) = models.run(before, x=x), models.run(after, x=x)
    return bool(np.allclose(found, expected, atol=1e-4 * max(1.0, abs(expected).max())))


@pytest.mark.parametrize("criterion", [Criterion.L1, Criterion.L2])
@pytest.mark.parametrize("normalization", [*Normalization, None])
def test_units_of_zeros_go_first(context: Context, criterion: Criterion, normalization: Normalization | None) -> None:
    channels, silent = half_silent(network(*BLOCKS[:1], BLOCKS[10], lstm))
    total = sum(len(group.units) for group in channels.groups)
    zeros = sum(len(group.units[::2]) for group in channels.groups)
    config = channel(sparsity=zeros / total, criterion=criterion, normalization=normalization)
    after = pruned(silent, config, context)
    assert same_outputs(silent, after)
    assert not same_outputs(silent, pruned(silent, config.model_copy(update={"sparsity": 0.9}), context))


def test_half_of_the_channels_of_each_layer(trained_cnn: Graph, context: Context) -> None:
    outcome = PrunePass(channel(sparsity=0.5, scope=Scope.LAYER)).apply(trained_cnn, None, context)
    shapes = {name: outcome.graph.weight(name).shape for name in ("k1_weight", "k2_weight", "k4_weight", "w_weight")}
    assert shapes == {
        "k1_weight": (8, 1, 3, 3), "k2_weight": (8, 8, 3, 3), "k4_weight": (16, 8, 3, 3), "w_weight": (10, 16),
    }  # fmt: skip
    assert macs(outcome.graph) < 0.3 * macs(trained_cnn)
    assert count_params(outcome.graph) < 0.3 * count_params(trained_cnn)
    assert "Cut 32 of 64 channels in 3 groups" in outcome.summary
    assert [(group.units, group.cut) for group in outcome.importance] == [(16, 8), (16, 8), (32, 16)]
    for group in outcome.importance:
        assert len(group.kept_scores) == len(group.cut_scores) == group.cut
        assert min(group.kept_scores) >= max(group.cut_scores)
    assert "not fitted again" in outcome.notes[0]
    lines = {line.name: line for line in outcome.layers}
    assert lines["conv_c4"].before == "32 × 16 × 3 × 3"
    assert lines["conv_c4"].after == "16 × 8 × 3 × 3"
    assert lines["gemm_logits"].change == "takes less in"
    assert "output" in (lines["gemm_logits"].kept_because or "")


def test_fitting_again_brings_accuracy_back(trained_cnn: Graph, digits: Samples, context: Context) -> None:
    start = accuracy(trained_cnn, digits)
    rough = accuracy(pruned(trained_cnn, channel(sparsity=0.3, reconstruct=False), context, digits), digits)
    fitted = PrunePass(channel(sparsity=0.3)).apply(trained_cnn, digits, context)
    assert start > 0.94
    assert rough < start - 0.3
    assert accuracy(fitted.graph, digits) > start - 0.1
    assert "layers behind a cut were fitted again on 128 samples" in fitted.notes[0]
    assert "batch-norms were measured anew" in fitted.notes[0]


@pytest.mark.parametrize("criterion", [Criterion.TAYLOR, Criterion.BATCH_NORM])
def test_criteria_find_the_channels_that_do_nothing(
    trained_cnn: Graph, digits: Samples, context: Context, criterion: Criterion
) -> None:
    """Of four channels of the last convolution nothing reaches the outputs; the others' weights are no larger."""
    graph = trained_cnn.copy()
    idle = [1, 5, 6, 30]
    for name in ("n4_weight", "n4_bias"):
        values = np.array(graph.weight(name))
        values[idle] = 0
        graph.set_weight(name, values)
    only_last = ("conv_c1", "conv_c2", "conv_c3")
    config = channel(sparsity=4 / 32, criterion=criterion, exclude=only_last, reconstruct=False)
    after = pruned(graph, config, context, digits)
    assert after.weight("w_weight").shape == (10, 28)
    assert (after.weight("w_weight") == np.delete(graph.weight("w_weight"), idle, axis=1)).all()
    assert accuracy(after, digits) == accuracy(graph, digits)


def test_random_choice_follows_the_seed(trained_cnn: Graph, context: Context) -> None:
    def kept(seed: int) -> Array:
        config = channel(sparsity=0.5, criterion=Criterion.RANDOM, seed=seed)
        return np.asarray(pruned(trained_cnn, config, context).weight("w_weight"))

    assert np.array_equal(kept(1), kept(1))
    assert not np.array_equal(kept(1), kept(2))


def test_batch_norm_counts_as_folded(trained_cnn: Graph, context: Context) -> None:
    """A convolution times 100, undone by its batch-norm, is the same network: the same channels go."""
    scaled = trained_cnn.copy()
    for name, factor in (("k2_weight", 100), ("k2_bias", 100), ("n2_running_mean", 100), ("n2_running_var", 1e4)):
        scaled.set_weight(name, np.asarray(scaled.weight(name)) * np.float32(factor))
    config = channel(sparsity=0.4, normalization=Normalization.NONE)
    shapes = [pruned(graph, config, context).weight("k2_weight").shape for graph in (trained_cnn, scaled)]
    assert shapes[0] == shapes[1]


def test_equalized_scores_ignore_how_two_layers_share_a_scale(context: Context) -> None:
    """Scaling a hidden unit up and what reads it down changes nothing behind a ReLU; nor which units go."""
    plain = Graph(models.random_mlp())
    factors = np.exp2(RANDOM.integers(-6, 7, 16)).astype(np.float32)
    scaled = plain.copy()
    scaled.set_weight("w1", plain.weight("w1") * factors)
    scaled.set_weight("b1", plain.weight("b1") * factors)
    scaled.set_weight("w2", plain.weight("w2") / factors[:, None])

    def kept(graph: Graph, normalization: Normalization) -> set[int]:
        after = pruned(graph, channel(sparsity=0.5, normalization=normalization), context)
        columns = {tuple(column): number for number, column in enumerate(graph.weight("w1").T.tolist())}
        return {columns[tuple(column)] for column in after.weight("w1").T.tolist()}

    assert kept(plain, Normalization.EQUALIZED) == kept(scaled, Normalization.EQUALIZED)
    assert kept(plain, Normalization.LAYER) != kept(scaled, Normalization.LAYER)


@pytest.mark.parametrize("measure", [Measure.MACS, Measure.PARAMETERS])
def test_goal_is_reached_and_hardly_passed(trained_cnn: Graph, context: Context, measure: Measure) -> None:
    count = macs if measure is Measure.MACS else count_params
    after = pruned(trained_cnn, channel(goal=Goal(of=measure, share=0.5)), context)
    assert 0.4 < count(after) / count(trained_cnn) <= 0.5


def test_goal_in_time_cuts_some_and_leaves_some(context: Context) -> None:
    wide = Graph(models.random_mlp(hidden=512))
    after = pruned(wide, channel(goal=Goal(of=Measure.LATENCY, share=0.5)), context)
    assert 1 <= after.weight("w1").shape[1] < 512


def test_goal_out_of_reach_is_refused_with_what_is_possible(trained_cnn: Graph, context: Context) -> None:
    with pytest.raises(OutOfReach, match=r"With all that may go gone, \d+\.\d% are left; the goal is 0\.1%"):
        pruned(trained_cnn, channel(goal=Goal(of=Measure.MACS, share=0.001), minimum=2), context)


def test_round_to_and_minimum_bound_what_is_left(trained_cnn: Graph, context: Context) -> None:
    after = pruned(trained_cnn, channel(sparsity=0.95, round_to=4, minimum=6), context)
    widths = {after.weight(name).shape[0] for name in ("k1_weight", "k2_weight", "k4_weight")}
    assert widths <= {8, 12}


def test_excluded_layer_keeps_its_shape_and_says_so(trained_cnn: Graph, context: Context) -> None:
    outcome = PrunePass(channel(sparsity=0.5, exclude=("conv_c4",))).apply(trained_cnn, None, context)
    line = next(line for line in outcome.layers if line.name == "conv_c4")
    assert outcome.graph.weight("k4_weight").shape[0] == 32
    assert line.kept_because == "'conv_c4' is excluded"


def test_heads_go_whole(context: Context) -> None:
    graph = network(attention)
    before = next(group for group in find_channels(graph).groups if group.is_heads)
    after = pruned(graph, Prune(granularity=Granularity.HEAD, sparsity=0.5), context)
    (left,) = (group for group in find_channels(after).groups if group.is_heads)
    assert (len(before.units), len(left.units)) == (4, 2)
    assert {(8, 36), (12, 8)} <= {tuple(value.dims) for value in graph.model.graph.initializer}
    assert {(8, 18), (6, 8)} <= {tuple(value.dims) for value in after.model.graph.initializer}


def test_hidden_units_of_a_recurrent_layer_go(context: Context) -> None:
    after = pruned(network(lstm), channel(sparsity=0.5, scope=Scope.LAYER), context)
    (node,) = (node for node in after.nodes if node.op_type == "LSTM")
    assert [a.i for a in node.attribute if a.name == "hidden_size"] == [3]
    assert after.weight(node.input[2]).shape == (1, 12, 3)


SCHEDULE = Polynomial(begin_step=5, end_step=60, every=5, learning=Learning(epochs=3))


def test_channels_fade_while_learning(trained_cnn: Graph, digits: Samples, context: Context) -> None:
    at_once = pruned(trained_cnn, channel(sparsity=0.5, reconstruct=False), context, digits)
    outcome = PrunePass(channel(sparsity=0.5, schedule=SCHEDULE)).apply(trained_cnn, digits, context)
    assert macs(outcome.graph) < 0.5 * macs(trained_cnn)
    assert accuracy(outcome.graph, digits) > accuracy(at_once, digits) + 0.3
    sparsity = next(curve for curve in outcome.curves if curve.name == "sparsity")
    assert list(sparsity.y) == sorted(sparsity.y)
    assert sparsity.y[-1] == 0.5


def test_sensitivity_has_a_curve_for_each_group(trained_cnn: Graph, digits: Samples, context: Context) -> None:
    outcome = PrunePass(channel(sparsity=0.3, sensitivity=True)).apply(trained_cnn, digits, context)
    assert [curve.name for curve in outcome.curves] == ["conv_c1", "conv_c2", "conv_c4"]
    for curve in outcome.curves:
        assert curve.x == (0.0, 0.25, 0.5, 0.75)
        assert curve.y[0] == 0 < curve.y[1]


@pytest.mark.parametrize(
    ("config", "code", "told"),
    [
        (channel(criterion=Criterion.TAYLOR), FailureCode.DATASET_REQUIRED, "train split and labels"),
        (channel(schedule=SCHEDULE), FailureCode.DATASET_REQUIRED, "train split and labels"),
        (channel(reconstruct=True), FailureCode.DATASET_REQUIRED, "needs a dataset"),
        (channel(criterion=Criterion.BATCH_NORM), FailureCode.NOTHING_TO_DO, "has a batch-norm behind it"),
        (Prune(granularity=Granularity.HEAD), FailureCode.NOTHING_TO_DO, "No head can be cut"),
        (channel(exclude=("gemm_h1",)), FailureCode.UNKNOWN_LAYER, "the nearest name is 'gemm_h0'"),
        (channel(sparsity=0.01), FailureCode.NOTHING_TO_DO, "nothing is cut"),
    ],
)
def test_what_cannot_be_is_refused(context: Context, config: Prune, code: FailureCode, told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        pruned(Graph(models.random_mlp()), config, context)
    assert caught.value.code == code
