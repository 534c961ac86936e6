"""What is no quicker in integers stays in float, and the report says why. Which that is depends on the machine, so the
choice itself is tested with graphs that are slow on purpose.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from tests.engine import models
from tests.engine.models import accuracy
from whetstone.contract.failures import FailureCode
from whetstone.contract.quantization import Activations, Precision, Quantize
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph, name_of
from workers.engine.passes.errors import NothingToDo
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass
from workers.engine.passes.quantizing.prepared import Prepared
from workers.engine.passes.quantizing.speed import quicker_in_float

ONLY_FASTER = Quantize(only_faster=True)
MANY = 400


def chain(count: int) -> Graph:
    """So many products in a row, x [N, 64] → y [N, 64]."""
    names = ["x", *(f"h{number}" for number in range(count - 1)), "y"]
    nodes = " ".join(f"{after} = MatMul({before}, w)" for before, after in itertools.pairwise(names))
    model = models.parsed(f"g (float[N,64] x) => (float[N,64] y) {{ {nodes} }}")
    return Graph(models.with_weights(model, w=np.eye(64, dtype=np.float32)))


def prepared(graph: Graph, context: Context) -> Prepared:
    for number, node in enumerate(graph.nodes):
        node.name = f"node{number}"
    return Prepared(graph, {}, None, context)


def test_what_slows_the_model_down_stays_in_float(context: Context) -> None:
    seen: list[tuple[str, ...]] = []

    def build(kept: Sequence[str]) -> Graph:
        seen.append(tuple(kept))
        return chain(4 if "node0" in kept else MANY)

    graph = chain(4)
    reasons = quicker_in_float(prepared(graph, context), build, [name_of(node) for node in graph.nodes])
    assert "node0" in reasons
    assert "times as fast with the first layer in float" in reasons["node0"]
    assert seen[0] == ()
    assert not list(context.scratch.iterdir())


def test_what_costs_more_in_float_is_quantized(context: Context) -> None:
    graph = chain(4)
    nodes = [name_of(node) for node in prepared(graph, context).graph.nodes]
    assert not quicker_in_float(prepared(graph, context), lambda kept: chain(MANY if kept else 4), nodes)


@pytest.mark.parametrize("activations", [Activations.STATIC, Activations.DYNAMIC])
def test_every_layer_is_in_integers_or_has_a_reason(
    trained_cnn: Graph, digits: Samples, context: Context, activations: Activations
) -> None:
    config = ONLY_FASTER.model_copy(update={"activations": activations})
    try:
        outcome = QuantizePass(config).apply(trained_cnn, digits, context)
    except NothingToDo as nothing:
        assert "times as fast with" in str(nothing)  # noqa: PT017 - on some machines integers gain nothing
        return
    assert accuracy(outcome.graph, digits) > accuracy(trained_cnn, digits) - 0.02
    for change in outcome.layers:
        assert change.kept_because is None or "times as fast with" in change.kept_because


def test_dynamic_ranges_are_timed_with_inputs_made_up(trained: Graph, context: Context) -> None:
    config = ONLY_FASTER.model_copy(update={"activations": Activations.DYNAMIC})
    try:
        outcome = QuantizePass(config).apply(trained, None, context)
    except NothingToDo as nothing:
        assert "times as fast with" in str(nothing)  # noqa: PT017
        return
    assert any(change.kept_because is None for change in outcome.layers)


def test_inputs_that_cannot_be_made_up_are_asked_for(context: Context) -> None:
    model = models.parsed(
        "g (int64[N,K] ids) => (float[N,K,8] y) { e = Gather(table, ids) y = MatMul(e, w) }",
    )
    table, weight = np.ones((16, 8), np.float32), np.eye(8, dtype=np.float32)
    graph = Graph(models.with_weights(model, table=table, w=weight))
    config = ONLY_FASTER.model_copy(update={"activations": Activations.DYNAMIC})
    with pytest.raises(EngineError, match="cannot be made up") as caught:
        QuantizePass(config).apply(graph, None, context)
    assert caught.value.code is FailureCode.DATASET_REQUIRED


@pytest.mark.parametrize("given", [{"precision": Precision.FP16}, {"activations": Activations.NONE}], ids=str)
def test_only_integers_can_be_faster(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="only_faster goes with int8"):
        Quantize(only_faster=True, **given)
