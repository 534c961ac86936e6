"""Least squares after a cut: exact where what was cut can be made from what is left, harmless where it cannot."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from tests.engine.models import Array
from whetstone.contract.pruning import Prune
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.node import decode
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.prune import PrunePass
from workers.engine.passes.pruning.least_squares import Sums, fit, windows

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RANDOM.standard_normal(shape).astype(np.float32)


def twins(*shape: int) -> Array:
    """A weight whose second half of outputs is the first times a third: it can go without loss."""
    half = normal(*shape)
    return np.concatenate([half, half / np.float32(3)])


@pytest.fixture
def images(tmp_path: Path) -> Samples:
    np.savez(tmp_path / "x.npz", x=normal(200, 3, 8, 8))
    return open_dataset(tmp_path / "x.npz", tmp_path)


CONV = """g (float[N,3,8,8] x) => (float[N,5,H,W] y) {
    a = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, k1)
    b = Relu(a)
    y = Conv <kernel_shape = [3,3], pads = [1,0,0,1], strides = [2,1], dilations = [1,2]> (b, k2, b2)
}"""
MATRICES = """g (float[N,3,8,8] x) => (float[N,8,5] y) {
    t = Transpose <perm = [0,2,3,1]> (x)
    s = Constant <value_ints = [0, 8, 24]> ()
    r = Reshape(t, s)
    a = MatMul(r, w1)
    b = Relu(a)
    m = MatMul(b, w2)
    y = Add(m, b2)
}"""


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        (CONV, {"k1": twins(4, 3, 3, 3), "k2": normal(5, 8, 3, 3), "b2": normal(5)}),
        (MATRICES, {"w1": np.ascontiguousarray(twins(4, 24).T), "w2": normal(8, 5), "b2": normal(5)}),
    ],
    ids=["convolutions", "matrices"],
)
def test_what_is_left_takes_over(body: str, weights: dict[str, Array], images: Samples, context: Context) -> None:
    graph = Graph(models.with_weights(models.parsed(body), **weights))
    x = normal(4, 3, 8, 8)
    (expected,) = models.run(graph, x=x)
    errors = []
    for again in (False, True):
        config = Prune.model_validate({"granularity": "channel", "sparsity": 0.5, "reconstruct": again})
        (found,) = models.run(PrunePass(config).apply(graph, images, context).graph, x=x)
        errors.append(float(np.linalg.norm(found - expected) / np.linalg.norm(expected)))
    assert errors[0] > 0.1
    assert errors[1] < 0.01


def test_a_fit_is_the_least_squares_solution() -> None:
    x, truth = normal(500, 6).astype(np.float64), normal(6, 3).astype(np.float64)
    y = x @ truth + 0.01 * normal(500, 3)
    sums = Sums(6, 3)
    for rows in np.split(np.arange(500), 5):
        sums.add(x[rows], y[rows])
    found = fit(sums, truth * 0)
    exact, *_ = np.linalg.lstsq(x, y, rcond=None)
    assert np.abs(found - exact).max() < 5e-3  # the ridge draws a little towards the start
    assert sums.error(found) == pytest.approx(np.square(x @ found - y).sum() / np.square(y).sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("attributes", "kernel"),
    [
        ("kernel_shape = [3,3], pads = [1,0,2,1], strides = [2,1], dilations = [1,2]", (3, 3)),
        ("kernel_shape = [5], pads = [2,2], strides = [3]", (5,)),
    ],
)
def test_windows_times_the_kernel_is_the_convolution(attributes: str, kernel: tuple[int, ...]) -> None:
    axes = "H,W" if len(kernel) == 2 else "L"
    body = f"g (float[N,4,{axes}] x) => (float[N,6,{axes}] y) {{ y = Conv <{attributes}> (x, k) }}"
    weight = normal(6, 4, *kernel)
    graph = Graph(models.with_weights(models.parsed(body), k=weight))
    x = normal(2, 4, *(9,) * len(kernel))
    (expected,) = models.run(graph, x=x)
    seen = windows(decode(graph.nodes[0], graph.opset), x, kernel)
    found = np.moveaxis(seen @ weight.reshape(6, -1).T, -1, 1).reshape(expected.shape)
    assert np.allclose(found, expected, atol=1e-4)


def test_few_samples_do_no_harm(context: Context) -> None:
    """Two samples cannot tell 72 weights: the one held out tells whether to believe the other."""
    weights = {"k1": normal(8, 3, 3, 3), "k2": normal(5, 8, 3, 3), "b2": normal(5)}
    graph = Graph(models.with_weights(models.parsed(CONV), **weights))
    with tempfile.TemporaryDirectory(dir=context.scratch) as folder:
        np.savez(Path(folder) / "x.npz", x=normal(6, 3, 8, 8))
        few = open_dataset(Path(folder) / "x.npz", Path(folder))
        config = Prune.model_validate({"granularity": "channel", "sparsity": 0.25, "calibration_samples": 2})
        after = PrunePass(config).apply(graph, few, context).graph
        rough = PrunePass(config.model_copy(update={"reconstruct": False})).apply(graph, few, context).graph
    x = normal(64, 3, 8, 8)
    (truth,), (left,), (fitted,) = (models.run(each, x=x) for each in (graph, rough, after))
    assert np.linalg.norm(fitted - truth) <= np.linalg.norm(left - truth)
