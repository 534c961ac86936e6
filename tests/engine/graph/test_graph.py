"""Reading, editing and counting a graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.engine import models
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_nonzero, count_params, layers_of
from workers.engine.graph.macs import count_macs, macs_by_node
from workers.engine.graph.storage import save_model


def test_inputs_leave_out_initializers_and_keep_dynamic_axes() -> None:
    model = models.random_mlp()
    model.graph.input.append(onnx.helper.make_tensor_value_info("w1", onnx.TensorProto.FLOAT, [784, 16]))
    graph = Graph(model)
    assert [(f.name, f.dtype, f.shape) for f in graph.inputs] == [("x", "float32", ("N", 1, 28, 28))]
    assert graph.outputs[0].shape == ("N", 10)


def test_layers_and_counts_of_an_mlp() -> None:
    graph = Graph(models.random_mlp(hidden=16))
    assert [(layer.name, layer.weight, layer.bias) for layer in layers_of(graph)] == [
        ("gemm_h0", "w1", "b1"),
        ("gemm_logits", "w2", "b2"),
    ]
    assert count_params(graph) == 784 * 16 + 16 + 16 * 10 + 10
    assert count_macs(graph) == 784 * 16 + 16 * 10


def test_macs_of_convolutions_by_hand() -> None:
    assert macs_by_node(Graph(models.cnn())) == {"c1": 28 * 28 * 8 * 9, "d": 14 * 14 * 8 * 9, "logits": 80}


def test_macs_of_transposed_convolution_and_unknown_axes() -> None:
    up = models.parsed("g (float[N,4,H,8] x) => (float[N,2,H2,W2] y) { y = ConvTranspose <strides = [2,2]> (x, k) }")
    graph = Graph(models.with_weights(up, k=np.ones((4, 2, 2, 2), np.float32)))
    assert count_macs(graph) is None
    assert count_macs(graph, {"x": (1, 4, 8, 8)}) == 4 * 8 * 8 * 2 * 2 * 2


def test_weight_in_a_constant_node_is_read_and_replaced() -> None:
    graph = Graph(models.matmul_as_constant())
    assert [layer.weight for layer in layers_of(graph)] == ["w"]
    graph.set_weight("w", np.ones((4, 3), np.float32))
    (y,) = models.run(graph, x=np.ones((2, 4), np.float32))
    assert (y == 4).all()
    assert (Graph(onnx.load_from_string(graph.model.SerializeToString())).weight("w") == 1).all()


def test_quantized_weight_counts_as_the_weight_it_stands_for() -> None:
    body = """g (float[N,4] x) => (float[N,3] y) {
        w = DequantizeLinear <axis = 1> (q, scale, zero)
        alias = Identity(w)
        y = MatMul(x, alias)
    }"""
    q = np.arange(12, dtype=np.int8).reshape(4, 3)
    zero = np.array([0, 1, 0], np.int8)
    graph = Graph(models.with_weights(models.parsed(body), q=q, scale=np.ones(3, np.float32), zero=zero))
    assert [layer.weight for layer in layers_of(graph)] == ["q"]
    assert (count_params(graph), count_nonzero(graph), count_macs(graph)) == (12, 10, 12)


def test_shared_weight_is_counted_once() -> None:
    body = "g (float[N,4] x) => (float[N,4] y) { h = MatMul(x, w) y = MatMul(h, w) }"
    graph = Graph(models.with_weights(models.parsed(body), w=np.ones((4, 4), np.float32)))
    assert len(layers_of(graph)) == 2
    assert (count_params(graph), count_macs(graph)) == (16, 32)


def test_copy_is_independent() -> None:
    graph = Graph(models.random_mlp())
    other = graph.copy()
    other.set_weight("w2", np.zeros((16, 10), np.float32))
    assert count_nonzero(other) == count_nonzero(graph) - 160


@pytest.mark.parametrize(("limit", "files"), [(2**31, ["m.onnx"]), (1000, ["m.onnx", "m.onnx.data"])])
def test_saving_beyond_the_limit_writes_external_data(tmp_path: Path, limit: int, files: list[str]) -> None:
    graph = Graph(models.random_mlp())
    before = graph.weight("w1").copy()
    for _ in range(2):  # a second save must not append to the first
        written = save_model(graph.model, tmp_path / "m.onnx", limit)
    assert [path.name for path in written] == files
    assert sum(path.stat().st_size for path in written) < 55_000
    for model in (graph.model, onnx.load(tmp_path / "m.onnx")):
        assert (numpy_helper.to_array(model.graph.initializer[0]) == before).all()
