"""float16 and bfloat16: half the size, and in float32 whatever would not survive it."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from tests.engine import models
from tests.engine.models import Array, accuracy
from whetstone.contract.failures import FailureCode
from whetstone.contract.quantization import Precision, Quantize
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import layers_of
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass

HALF, BRAIN = Quantize(precision=Precision.FP16), Quantize(precision=Precision.BF16)


def normal(seed: int, *shape: int, scale: float = 1.0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def data_of(folder: Path, **arrays: Array) -> Samples:
    np.savez(folder / "d.npz", **arrays)
    return open_dataset(folder / "d.npz", folder)


def types_of(graph: Graph, op: str) -> list[str]:
    """The type of the first weight of each node of an op."""
    return [graph.dtype(layer.weight) for layer in layers_of(graph) if layer.op == op]


@pytest.mark.parametrize("with_data", [True, False])
def test_a_sum_that_overflows_inside_a_node_stays_in_float32(
    tmp_path: Path, context: Context, *, with_data: bool
) -> None:
    """Every value that is read or made fits into float16; 4,096 squares of 30 are summed on the way to the mean."""
    body = """g (float[N,4096] x) => (float[N,4] y) {
        [scale] a = Mul(x, thirty)
        [squares] s = ReduceSumSquare <axes = [1], keepdims = 1> (a)
        [back] b = Mul(s, tiny)
        [small] m = Div(x, b)
        [product] y = MatMul(m, w)
    }"""
    weights = {
        "thirty": np.float32([30]), "tiny": np.float32([1e-4]), "w": normal(0, 4096, 4, scale=0.02),
    }  # fmt: skip
    graph = Graph(models.with_weights(models.parsed(body), **weights))
    data = data_of(tmp_path, x=np.sign(normal(1, 40, 4096))) if with_data else None
    outcome = QuantizePass(HALF).apply(graph, data, context)
    assert types_of(outcome.graph, "MatMul") == ["float16"]
    assert any("'squares' stays in float32" in note for note in outcome.notes)
    x = np.sign(normal(2, 5, 4096))
    (before,), (after,) = models.run(graph, x=x), models.run(outcome.graph, x=x)
    assert np.abs(before - after).max() < 0.01 * np.abs(before).max()


def test_a_result_that_is_nan_only_in_float16_is_found_by_running_it(tmp_path: Path, context: Context) -> None:
    """X is read, x - x + 1e-6 made: both harmless, but float16 makes 1e-6 of nothing, and log of that is infinite."""
    body = """g (float[N,8] x) => (float[N,4] y) {
        [shift] a = Add(x, offset)
        [gap] d = Sub(a, x)
        [log] l = Log(d)
        [product] y = MatMul(l, w)
    }"""
    weights = {"offset": np.float32([2e-4]), "w": normal(0, 8, 4)}
    graph = Graph(models.with_weights(models.parsed(body), **weights))
    outcome = QuantizePass(HALF).apply(graph, data_of(tmp_path, x=np.abs(normal(1, 40, 8)) + 1), context)
    assert any("'log' stays in float32: it becomes NaN or infinite in float16" in note for note in outcome.notes)
    assert types_of(outcome.graph, "MatMul") == ["float16"]


def test_an_epsilon_that_would_vanish_stays_in_float32(tmp_path: Path, context: Context) -> None:
    body = """g (float[N,8] x) => (float[N,4] y) {
        [square] v = Mul(x, x)
        [guard] e = Add(v, epsilon)
        [root] r = Sqrt(e)
        [norm] n = Div(x, r)
        [product] y = MatMul(n, w)
    }"""
    graph = Graph(models.with_weights(models.parsed(body), epsilon=np.float32([1e-12]), w=normal(0, 8, 4)))
    x = normal(1, 40, 8)
    x[:, 3] = 1e-5  # its square is zero in float16
    outcome = QuantizePass(HALF).apply(graph, data_of(tmp_path, x=x), context)
    assert any("'guard' stays in float32: a constant would become zero" in note for note in outcome.notes)
    (after,) = models.run(outcome.graph, x=x)
    assert np.isfinite(after).all()


def test_bfloat16_halves_the_file_and_runs(trained: Graph, digits: Samples, context: Context) -> None:
    outcome = QuantizePass(BRAIN).apply(trained, digits, context)
    assert types_of(outcome.graph, "Gemm") == ["bfloat16"] * 2
    assert [(change.change, change.after) for change in outcome.layers] == [("quantized", "bfloat16")] * 2
    assert len(outcome.graph.model.SerializeToString()) < 0.52 * len(trained.model.SerializeToString())
    assert accuracy(outcome.graph, digits) > accuracy(trained, digits) - 0.01
    assert [node.name for node in outcome.graph.nodes if node.op_type == "Gemm"] == ["gemm_h0", "gemm_logits"]


def test_bfloat16_needs_no_samples_and_keeps_convolutions(context: Context) -> None:
    graph = Graph(models.cnn())
    outcome = QuantizePass(BRAIN).apply(graph, None, context)
    x = normal(0, 3, 1, 28, 28)
    (before,), (after,) = models.run(graph, x=x), models.run(outcome.graph, x=x)
    assert 0 < np.abs(before - after).max() < 0.02 * np.abs(before).max()


def test_bfloat16_leaves_what_is_excluded_or_would_overflow(context: Context) -> None:
    graph = Graph(models.random_mlp())
    w1 = np.array(graph.weight("w1"))
    w1[0, 0] = np.finfo(np.float32).max
    graph.set_weight("w1", w1)
    outcome = QuantizePass(BRAIN).apply(graph, None, context)
    assert [change.kept_because for change in outcome.layers] == ["values up to 3.4e+38 would overflow", None]
    outcome = QuantizePass(BRAIN.model_copy(update={"exclude": ("w2",)})).apply(
        Graph(models.random_mlp()), None, context
    )
    assert [change.after for change in outcome.layers] == ["bfloat16", "float32"]


def test_bfloat16_of_an_old_opset_is_refused(context: Context) -> None:
    body = "g (float[N,4] x) => (float[N,4] y) { y = MatMul(x, w) }"
    graph = Graph(models.with_weights(models.parsed(body, opset=12), w=normal(0, 4, 4)))
    with pytest.raises(EngineError, match="opset 12") as refused:
        QuantizePass(BRAIN).apply(graph, None, context)
    assert refused.value.code is FailureCode.NOTHING_TO_DO


def test_shared_weights_are_stored_once(context: Context) -> None:
    body = "g (float[N,4] x) => (float[N,4] y) { h = MatMul(x, w) y = MatMul(h, w) }"
    graph = Graph(models.with_weights(models.parsed(body), w=normal(0, 4, 4)))
    outcome = QuantizePass(BRAIN).apply(graph, None, context)
    assert [tensor.data_type for tensor in outcome.graph.model.graph.initializer] == [TensorProto.BFLOAT16]
