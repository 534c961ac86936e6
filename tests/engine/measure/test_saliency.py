"""Where two graphs look, on graphs whose gradient is known, and on a trained network before and after a pass."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from whetstone.contract.insights import Saliency
from whetstone.contract.quantization import Activations, Quantize
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.graph.graph import Array, Graph
from workers.engine.measure.decision import Decision
from workers.engine.measure.feed import Feed
from workers.engine.measure.saliency import saliency
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.sequence import make

LINE = "g (float[N,1,8,8] x) => (float[N,2] logits) { f = Flatten(x) logits = MatMul(f, w) }"


def line(weights: Array) -> Graph:
    """Logits that are a weighted sum of the pixels; `weights` has shape [64, 2]."""
    return Graph(models.with_weights(models.parsed(LINE), w=weights.astype(np.float32)))


def halves(*bright: int) -> Graph:
    """Class 1 looks at these pixels alone, the first with the largest weight; class 0 always loses."""
    weights = np.zeros((64, 2))
    weights[list(bright), 1] = np.arange(len(bright), 0, -1)
    return line(weights)


def compared(
    original: Graph, result: Graph, folder: Path, x: Array | None = None, batch_size: int = 1
) -> Saliency | None:
    images = np.ones((9, 1, 8, 8), np.float32) if x is None else x
    np.savez(folder / "data.npz", **{"test/x": images})
    feed = Feed(original.inputs, batch_size, {}, open_dataset(folder / "data.npz", folder))
    return saliency(original, models.saved(result, folder / "result.onnx"), Decision("logits"), feed, folder)


def test_the_same_graph_looks_at_the_same(tmp_path: Path) -> None:
    found = compared(halves(*range(32)), halves(*range(32)), tmp_path)
    assert found is not None
    assert (found.samples, found.rank_correlation, found.overlap, found.missing) == (8, pytest.approx(1), 1, None)
    assert len(found.shown) == 4


def test_one_that_looks_elsewhere(tmp_path: Path) -> None:
    found = compared(halves(*range(32)), halves(*range(63, 31, -1)), tmp_path)
    assert found is not None
    assert found.overlap == 0
    assert found.rank_correlation is not None
    assert found.rank_correlation < -0.7


def test_half_of_the_most_salient_pixels(tmp_path: Path) -> None:
    """A tenth of 64 pixels are six."""
    found = compared(halves(0, 1, 2, 3, 4, 5), halves(0, 1, 2, 60, 61, 62), tmp_path)
    assert found is not None
    assert found.overlap == 0.5


def test_both_are_asked_about_what_the_original_decides(tmp_path: Path) -> None:
    """The result decides otherwise, and has the same weights for the class that counts."""
    weights = np.zeros((64, 2))
    weights[:6, 1] = np.arange(1, 7)
    other = weights.copy()
    other[40:, 0] = 100
    found = compared(line(weights), line(other), tmp_path)
    assert found is not None
    assert found.overlap == 1


@pytest.mark.parametrize(
    ("activations", "missing"),
    [(Activations.STATIC, None), (Activations.DYNAMIC, "DynamicQuantizeLinear, which no gradient passes")],
)
def test_a_quantized_network(
    trained_cnn: Graph, digits: Samples, tmp_path: Path, activations: Activations, missing: str | None
) -> None:
    quantized = make(Quantize(activations=activations)).apply(trained_cnn, digits, Context(tmp_path, 1)).graph
    feed = Feed(trained_cnn.inputs, 1, {}, digits)
    found = saliency(trained_cnn, models.saved(quantized, tmp_path / "q.onnx"), Decision("logits"), feed, tmp_path)
    assert found is not None
    if missing is None:
        assert found.rank_correlation is not None
        assert found.overlap is not None
        assert found.rank_correlation > 0.7
        assert found.overlap > 0.5
    else:
        assert missing in (found.missing or "")


def test_why_there_is_nothing_to_compare(tmp_path: Path) -> None:
    zeros = line(np.zeros((64, 2)))
    for result, batch_size, told in ((zeros, 1, "the same for all pixels"), (halves(1), 128, "too large")):
        images = np.ones((200, 1, 8, 8), np.float32)
        found = compared(halves(1), result, tmp_path, images, batch_size)
        assert found is not None
        assert told in (found.missing or "")
        assert found.rank_correlation is None


def test_what_is_no_image_or_random_is_not_compared(tmp_path: Path) -> None:
    flat = "g (float[N,64] x) => (float[N,2] logits) { logits = MatMul(x, w) }"
    graph = Graph(models.with_weights(models.parsed(flat), w=np.ones((64, 2), np.float32)))
    assert compared(graph, graph, tmp_path, np.ones((9, 64), np.float32)) is None
    feed = Feed(graph.inputs, 1, {}, None)
    assert saliency(graph, tmp_path / "result.onnx", Decision("logits"), feed, tmp_path) is None
