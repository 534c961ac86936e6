"""Fewer nodes, the same function."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from whetstone.contract.passes import Simplify
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import layers_of
from workers.engine.passes.checks import same_results
from workers.engine.passes.errors import BrokenResult
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.simplify import SimplifyPass


def test_normalization_is_folded_and_results_stay(context: Context, capfd: pytest.CaptureFixture[str]) -> None:
    graph = Graph(models.cnn())
    outcome = SimplifyPass(Simplify()).apply(graph, None, context)
    assert "BatchNormalization" not in {node.op_type for node in outcome.graph.nodes}
    assert outcome.graph.inputs == graph.inputs
    assert "10 nodes to 9" in outcome.summary
    x = np.random.default_rng(0).standard_normal((5, 1, 28, 28)).astype(np.float32)
    assert np.allclose(models.run(outcome.graph, x=x)[0], models.run(graph, x=x)[0], atol=1e-4)
    assert capfd.readouterr() == ("", "")


def test_graph_given_is_not_touched(context: Context) -> None:
    graph = Graph(models.cnn())
    before = graph.model.SerializeToString()
    SimplifyPass(Simplify()).apply(graph, None, context)
    assert graph.model.SerializeToString() == before


def test_integer_inputs_cannot_be_compared_and_it_says_so(context: Context) -> None:
    body = "g (int64[N,L] ids) => (float[N,L,4] y) { i = Identity(ids) y = Gather(w, i) }"
    graph = Graph(models.with_weights(models.parsed(body), w=np.ones((9, 4), np.float32)))
    outcome = SimplifyPass(Simplify()).apply(graph, None, context)
    assert [layer.op for layer in layers_of(outcome.graph)] == ["Gather"]
    assert "No inputs" in outcome.notes[0]


def test_output_of_another_shape_is_not_the_same(tmp_path: Path) -> None:
    body = "g (float[N,3] x) => (float y) {{ y = {} }}"
    before, after = (Graph(models.parsed(body.format(call))) for call in ("Identity(x)", "Flatten <axis = 0> (x)"))
    with pytest.raises(BrokenResult, match="Output 'y' is no longer what it was"):
        same_results(before, after, None, tmp_path, tolerance=1e-3)


def test_a_wrongly_declared_output_changes_nothing(context: Context) -> None:
    """What is split in three is joined again by its axes; the output is declared as one long row, and never was."""
    body = """g (float[N,12] x) => (float[1,M] y) {
        c = Shape <start = 0, end = 1> (x) t = Constant <value_ints = [3, 4]> ()
        s = Concat <axis = 0> (c, t) y = Reshape (x, s) }"""
    graph = Graph(models.parsed(body))
    outcome = SimplifyPass(Simplify()).apply(graph, None, context)
    x = np.arange(24, dtype=np.float32).reshape(2, 12)
    assert models.run(outcome.graph, x=x)[0].shape == (2, 3, 4)
    assert outcome.graph.outputs == graph.outputs
