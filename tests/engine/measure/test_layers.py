"""What is told of each layer, on graphs whose layers were changed by hand and by a pass."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.engine import models
from whetstone.contract.quantization import Activations, Quantize
from whetstone.contract.reports import LayerFate
from workers.engine.data.samples import open_dataset
from workers.engine.graph.graph import Graph
from workers.engine.measure.accuracy import flips
from workers.engine.measure.feed import Feed
from workers.engine.measure.layers import fates, noise_of
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.sequence import make


def told(result: Graph, scratch: Path, batch_size: int = 1) -> dict[str, LayerFate]:
    original = Graph(models.random_mlp(hidden=64))
    feed = Feed(original.inputs, batch_size, {}, None)
    return {fate.name: fate for fate in fates(original, result, feed, scratch)}


def test_what_was_left_alone_is_the_same(tmp_path: Path) -> None:
    found = told(Graph(models.random_mlp(hidden=64)), tmp_path)
    assert len(found) == 2
    assert all(fate.same and fate.bits == 32 and fate.sparsity == 0 for fate in found.values())
    assert [fate.macs for fate in found.values()] == [fate.params for fate in found.values()]


def test_an_error_shows_from_the_layer_on_where_it_comes_in(tmp_path: Path) -> None:
    result = Graph(models.random_mlp(hidden=64))
    weights = result.weight("w2").copy()
    weights[::2] = 0
    result.set_weight("w2", weights)
    first, second = told(result, tmp_path).values()
    assert first.same
    assert second.sparsity == pytest.approx(0.5)
    assert second.sqnr_db is not None
    assert 0 < second.sqnr_db < 10


def test_a_pass_is_blamed_for_what_it_did_itself(tmp_path: Path) -> None:
    before = Graph(models.random_mlp(hidden=64))
    after = before.copy()
    after.set_weight("w2", 1.1 * after.weight("w2"))
    feed = Feed(before.inputs, 1, {}, None)
    first, second = noise_of(before, after, feed, tmp_path)
    assert first.sqnr_db is None
    assert second.sqnr_db == pytest.approx(20, abs=0.5)  # a tenth more
    assert [layer.sqnr_db for layer in noise_of(after, after.copy(), feed, tmp_path)] == [None, None]


@pytest.mark.parametrize("activations", [Activations.STATIC, Activations.DYNAMIC])
def test_a_quantized_layer_is_found_again(tmp_path: Path, activations: Activations) -> None:
    images = np.random.default_rng(0).standard_normal((64, 1, 28, 28)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=images, labels=np.arange(64) % 10)
    graph = Graph(models.random_mlp(hidden=64))
    samples = open_dataset(tmp_path / "data.npz", tmp_path)
    quantized = make(Quantize(activations=activations)).apply(graph, samples, Context(tmp_path, 1)).graph
    for fate in told(quantized, tmp_path).values():
        assert fate.bits == 8
        assert fate.sqnr_db is not None
        assert 10 < fate.sqnr_db < 60


def test_what_cannot_be_compared_has_no_figure(tmp_path: Path) -> None:
    narrower = told(Graph(models.random_mlp(hidden=16)), tmp_path)
    first, second = narrower.values()
    assert first.sqnr_db is None
    assert not first.same
    assert second.sqnr_db is not None  # ten classes in both
    assert all(fate.sqnr_db is None for fate in told(Graph(models.random_mlp(hidden=16)), tmp_path, 128).values())
    gone = Graph(onnx.parser.parse_model(EMPTY))
    assert all(fate.bits is None and fate.sparsity is None for fate in told(gone, tmp_path).values())


EMPTY = """<ir_version: 10, opset_import: ["" : 21]>
empty (float[N, 1, 28, 28] x) => (float[N, 784] y) { y = Flatten (x) }"""


def test_changed_decisions_are_counted_by_kind() -> None:
    labels, before, after = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 0]), np.array([1, 1, 1, 1, 1])
    found = flips(labels, before, after)
    assert (found.lost, found.won, found.moved) == (2, 1, 1)
    assert found.examples == (0, 1)
    assert [(kind.label, kind.original, kind.result, kind.samples) for kind in found.confusions] == [
        (0, 0, 1, 2),
        (1, 0, 1, 1),
        (2, 0, 1, 1),
    ]
