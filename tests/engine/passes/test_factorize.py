"""Thin layers in the place of wide ones: exact where the weight has that rank, and only where it pays."""

import numpy as np
import pytest

from tests.engine import models
from tests.engine.models import Array, accuracy
from whetstone.contract.factorization import Factorize, Spatial
from whetstone.contract.failures import FailureCode
from whetstone.contract.pruning import Goal, Measure
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_params
from workers.engine.graph.macs import count_macs
from workers.engine.passes.factorize import FactorizePass
from workers.engine.passes.factorizing.split import rank_for
from workers.engine.passes.goal import OutOfReach
from workers.engine.passes.graph_pass import Context

RANDOM = np.random.default_rng(0)
EXACT = 1 - 1e-9


def normal(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def low_rank(rows: int, columns: int, rank: int) -> Array:
    return np.asarray(normal(rows, rank) @ normal(rank, columns), np.float32)


def kernel(spatial: Spatial, out: int, into: int, size: int, rank: int) -> Array:
    """A kernel [out, in, size, size] that is a sum of `rank` of the products that `spatial` makes."""
    match spatial:
        case Spatial.CHANNEL:
            return low_rank(out, into * size**2, rank).reshape(out, into, size, size)
        case Spatial.SEPARABLE:
            flat = low_rank(into * size, out * size, rank).reshape(into, size, out, size)
            return np.ascontiguousarray(flat.transpose(2, 0, 1, 3))
        case Spatial.TUCKER:
            core = normal(rank, rank, size, size)
            wide = np.einsum("or,rshw,si->oihw", normal(out, rank), core, normal(rank, into))
            return np.asarray(wide, np.float32)


def graph_of(body: str, **weights: Array) -> Graph:
    return Graph(models.with_weights(models.parsed(body), **weights))


def same_outputs(before: Graph, after: Graph, x: Array) -> bool:
    (expected,), (found,) = models.run(before, x=x), models.run(after, x=x)
    return bool(np.allclose(found, expected, atol=1e-4 * abs(expected).max()))


MATRICES = {
    "MatMul": ("y = MatMul(x, w)", low_rank(40, 30, 4)),
    "Gemm": ("y = Gemm(x, w, b)", low_rank(40, 30, 4)),
    "Gemm, turned and scaled": (
        "y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)",
        np.ascontiguousarray(low_rank(40, 30, 4).T),
    ),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrix_of_low_rank_is_split_without_loss(context: Context, name: str) -> None:
    node, weight = MATRICES[name]
    bias = {"b": normal(30)} if "b)" in node else {}
    graph = graph_of(f"g (float[N,40] x) => (float[N,30] y) {{ {node} }}", w=weight, **bias)
    outcome = FactorizePass(Factorize(energy=EXACT)).apply(graph, None, context)
    assert same_outputs(graph, outcome.graph, normal(5, 40))
    assert count_params(outcome.graph) == 4 * 70 + (30 if bias else 0)
    assert outcome.layers[0].after == "SVD of rank 4"
    assert [node.output[0] for node in outcome.graph.nodes][-1] == "y"


@pytest.mark.parametrize("spatial", list(Spatial))
@pytest.mark.parametrize("window", ["strides = [1,1]", "strides = [2,1], dilations = [1,2]"])
def test_kernel_of_low_rank_is_split_without_loss(context: Context, spatial: Spatial, window: str) -> None:
    node = f"y = Conv <kernel_shape = [3,3], pads = [1,0,2,1], {window}> (x, k, b)"
    weight = kernel(spatial, 24, 16, 3, rank=3)
    graph = graph_of(f"g (float[N,16,H,W] x) => (float[N,24,H2,W2] y) {{ {node} }}", k=weight, b=normal(24))
    outcome = FactorizePass(Factorize(energy=EXACT, spatial=spatial)).apply(graph, None, context)
    assert same_outputs(graph, outcome.graph, normal(2, 16, 11, 12))
    assert len(outcome.graph.nodes) == (3 if spatial is Spatial.TUCKER else 2)
    assert count_params(outcome.graph) < 0.5 * count_params(graph)


@pytest.mark.parametrize("spatial", list(Spatial))
def test_pointwise_convolution_is_a_matrix(context: Context, spatial: Spatial) -> None:
    weight = low_rank(24, 16, 3).reshape(24, 16, 1, 1)
    body = "g (float[N,16,H,W] x) => (float[N,24,H2,W2] y) { y = Conv <strides = [2,2]> (x, k) }"
    graph = graph_of(body, k=weight)
    after = FactorizePass(Factorize(energy=EXACT, spatial=spatial)).apply(graph, None, context).graph
    assert same_outputs(graph, after, normal(2, 16, 7, 7))
    assert count_params(after) == 3 * 40


def test_rank_is_the_least_that_keeps_the_energy() -> None:
    singular = np.sqrt(np.array([8.0, 4, 2, 1, 1]))
    assert [rank_for(singular, energy, 1) for energy in (0.5, 0.51, 0.75, 0.9, 0.99)] == [1, 2, 2, 4, 5]
    assert [rank_for(singular, 0.51, round_to) for round_to in (1, 2, 3, 4, 8)] == [2, 2, 3, 4, 5]


def test_lost_energy_is_the_error_of_the_weight(context: Context) -> None:
    weight = normal(60, 50) * np.geomspace(1, 0.01, 50).astype(np.float32)
    graph = graph_of("g (float[N,60] x) => (float[N,50] y) { y = MatMul(x, w) }", w=weight)
    after = FactorizePass(Factorize(energy=0.9)).apply(graph, None, context).graph
    product = np.asarray(after.weight("w.part1")) @ np.asarray(after.weight("w.part2"))
    assert 0.85 < 1 - np.square(product - weight).sum() / np.square(weight).sum() < 0.95


def test_share_of_the_work_is_reached(trained: Graph, digits: Samples, context: Context) -> None:
    config = Factorize(goal=Goal(of=Measure.MACS, share=0.5))
    after = FactorizePass(config).apply(trained, digits, context).graph
    before, left = count_macs(trained), count_macs(after)
    assert before is not None
    assert left is not None
    assert 0.45 < left / before <= 0.5
    assert accuracy(after, digits) > accuracy(trained, digits) - 0.1


def test_layer_that_would_cost_more_stays_and_says_so(context: Context) -> None:
    body = "g (float[N,40] x) => (float[N,40] y) { h = MatMul(x, v) y = MatMul(h, w) }"
    graph = graph_of(body, v=low_rank(40, 40, 3), w=normal(40, 40))
    outcome = FactorizePass(Factorize(energy=EXACT)).apply(graph, None, context)
    lines = {line.change: line.kept_because for line in outcome.layers}
    assert lines == {"split": None, "left alone": "its parts would take more multiplications than it does"}


def test_shared_weight_is_split_once(context: Context) -> None:
    body = "g (float[N,40] x) => (float[N,40] y) { h = MatMul(x, w) t = Tanh(h) y = MatMul(t, w) }"
    graph = graph_of(body, w=low_rank(40, 40, 3) / np.float32(20))
    after = FactorizePass(Factorize(energy=EXACT)).apply(graph, None, context).graph
    assert same_outputs(graph, after, normal(3, 40))
    assert sorted(value.name for value in after.model.graph.initializer) == ["w.part1", "w.part2"]


def test_excluded_layer_stays(trained: Graph, context: Context) -> None:
    config = Factorize(energy=0.5, exclude=("gemm_h0",))
    with pytest.raises(EngineError, match="No layer gets cheaper") as caught:
        FactorizePass(config.model_copy(update={"energy": 0.999})).apply(trained, None, context)
    assert caught.value.code == FailureCode.NOTHING_TO_DO
    outcome = FactorizePass(config).apply(trained, None, context)
    assert next(line for line in outcome.layers if line.name == "gemm_h0").kept_because == "it is excluded"
    assert "w1" in outcome.graph.constants


@pytest.mark.parametrize(
    ("config", "code", "told"),
    [
        (Factorize(), FailureCode.NOTHING_TO_DO, "no Conv, Gemm or MatMul"),
        (Factorize(exclude=("other",)), FailureCode.UNKNOWN_LAYER, "other"),
    ],
)
def test_what_cannot_be_is_refused(context: Context, config: Factorize, code: FailureCode, told: str) -> None:
    with pytest.raises(EngineError, match=told) as caught:
        FactorizePass(config).apply(Graph(models.relu()), None, context)
    assert caught.value.code == code


def test_share_that_no_rank_reaches_is_refused(trained: Graph, context: Context) -> None:
    config = Factorize(goal=Goal(of=Measure.PARAMETERS, share=0.001))
    with pytest.raises(OutOfReach, match=r"With all that may go gone, \d\.\d% are left; the goal is 0\.1%"):
        FactorizePass(config).apply(trained, None, context)


def test_share_of_the_time_splits_some_and_leaves_rank(context: Context) -> None:
    body = "g (float[N,1024] x) => (float[N,1024] y) { y = MatMul(x, w) }"
    graph = graph_of(body, w=normal(1024, 1024))
    after = FactorizePass(Factorize(goal=Goal(of=Measure.LATENCY, share=0.6))).apply(graph, None, context).graph
    assert 1 <= after.weight("w.part1").shape[1] < 512
