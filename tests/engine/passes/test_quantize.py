"""Eight bits, hardly a point lost, and honest about what stayed float."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from tests.engine import models
from tests.engine.models import accuracy
from whetstone.contract.failures import FailureCode
from whetstone.contract.quantization import Activations, ActivationType, Quantize
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_params
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass
from workers.engine.passes.quantizing.calibration import Calibration

SETTINGS = [
    Quantize(),
    Quantize(activation_type=ActivationType.INT8),
    Quantize(per_channel=False),
    Quantize(activations=Activations.DYNAMIC),
    Quantize(activations=Activations.DYNAMIC, per_channel=False),
]


def size(graph: Graph) -> int:
    return len(graph.model.SerializeToString())


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_less_than_a_point_is_lost_for_a_quarter_of_the_size(
    trained: Graph, digits: Samples, context: Context, config: Quantize
) -> None:
    outcome = QuantizePass(config).apply(trained, digits, context)
    assert accuracy(outcome.graph, digits) > accuracy(trained, digits) - 0.01
    assert size(outcome.graph) < 0.3 * size(trained)
    assert count_params(outcome.graph) == count_params(trained)
    assert [(change.change, change.before) for change in outcome.layers] == [("quantized", "float32")] * 2
    channels = "per channel" if config.per_channel else "per tensor"
    assert [change.after for change in outcome.layers] == [f"int8, {channels}"] * 2


@pytest.mark.parametrize("config", SETTINGS, ids=str)
def test_convolutions_are_quantized(digits: Samples, context: Context, config: Quantize) -> None:
    outcome = QuantizePass(config).apply(Graph(models.cnn()), digits, context)
    assert [change.change for change in outcome.layers] == ["quantized"] * 3
    assert "Quantized 3 of 3 layers" in outcome.summary


def test_metadata_producer_and_scratch_are_left_as_they_were(trained: Graph, digits: Samples, context: Context) -> None:
    graph = trained.copy()
    graph.model.producer_name = "tenant"
    graph.model.metadata_props.add(key="author", value="someone")
    before = graph.model.SerializeToString()
    after = QuantizePass(Quantize()).apply(graph, digits, context).graph.model
    assert graph.model.SerializeToString() == before
    assert after.producer_name == "tenant"
    assert [(p.key, p.value) for p in after.metadata_props] == [("author", "someone")]
    assert list(context.scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["gemm_h0", "w1"])
@pytest.mark.parametrize("activations", Activations)
def test_excluded_layer_stays_float(
    trained: Graph, digits: Samples, context: Context, name: str, activations: Activations
) -> None:
    outcome = QuantizePass(Quantize(activations=activations, exclude=(name,))).apply(trained, digits, context)
    assert not any(name.startswith("w1") and name.endswith("_quantized") for name in outcome.graph.constants)
    assert outcome.layers[0].kept_because == "it is excluded"
    assert outcome.layers[1].kept_because is None


def test_weight_in_a_constant_node_is_quantized(tmp_path: Path, context: Context) -> None:
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32))
    data = open_dataset(tmp_path / "d.npz", tmp_path)
    outcome = QuantizePass(Quantize()).apply(Graph(models.matmul_as_constant()), data, context)
    assert outcome.graph.constants["w_quantized"].data_type == TensorProto.INT8
    assert "5 samples there are; 256 were asked" in outcome.notes[0]


def test_weight_behind_an_identity_is_quantized(digits: Samples, context: Context) -> None:
    model = models.random_mlp()
    model.graph.node.insert(0, models.helper.make_node("Identity", ["w1"], ["alias"], name="alias"))
    model.graph.node[2].input[1] = "alias"
    outcome = QuantizePass(Quantize()).apply(Graph(model), digits, context)
    assert [change.change for change in outcome.layers] == ["quantized"] * 2


def test_layer_of_an_op_without_integer_form_says_why_it_stayed(digits: Samples, context: Context) -> None:
    body = """g (float[N,1,28,28] x) => (float[N,2,56,56] y) {
        [up] u = ConvTranspose <strides = [2,2]> (x, k)
        [c] y = Conv (u, k2)
    }"""
    weights = {"k": np.ones((1, 4, 2, 2), np.float32), "k2": np.ones((2, 4, 1, 1), np.float32)}
    graph = Graph(models.with_weights(models.parsed(body), **weights))
    outcome = QuantizePass(Quantize(activations=Activations.DYNAMIC)).apply(graph, digits, context)
    assert outcome.layers[0].kept_because == "ConvTranspose has no dynamic int8 form in onnxruntime"
    assert outcome.layers[1].change == "quantized"


def test_ranges_do_not_depend_on_how_samples_are_batched(trained: Graph, digits: Samples, context: Context) -> None:
    one = QuantizePass(Quantize(calibration_samples=40)).apply(trained, digits, context).graph
    fixed = trained.copy()
    fixed.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    two = QuantizePass(Quantize(calibration_samples=40)).apply(fixed, digits, context).graph
    assert np.isclose(one.weight("h_scale"), two.weight("h_scale"), rtol=1e-5)


REFUSED: dict[str, tuple[Graph, Quantize, bool, FailureCode, str]] = {
    "no weights": (Graph(models.relu()), Quantize(), True, FailureCode.NOTHING_TO_DO, "no float32 weight"),
    "no data": (Graph(models.random_mlp()), Quantize(), False, FailureCode.DATASET_REQUIRED, "calibration samples"),
    "none left": (Graph(models.random_mlp()), Quantize(exclude=("w1", "w2")), True, FailureCode.NOTHING_TO_DO, "left"),
    "unknown": (Graph(models.random_mlp()), Quantize(exclude=("w9",)), True, FailureCode.UNKNOWN_LAYER, "nearest name"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_any_work(digits: Samples, context: Context, case: str) -> None:
    graph, config, with_data, code, told = REFUSED[case]
    with pytest.raises(EngineError, match=told) as caught:
        QuantizePass(config).apply(graph, digits if with_data else None, context)
    assert caught.value.code == code


def test_quantizing_twice_is_refused(trained: Graph, digits: Samples, context: Context) -> None:
    for config in (Quantize(), Quantize(activations=Activations.DYNAMIC)):
        once = QuantizePass(config).apply(trained, digits, context).graph
        with pytest.raises(EngineError, match="quantized already"):
            QuantizePass(Quantize()).apply(once, digits, context)


@pytest.mark.parametrize(("channels", "at_once"), [(64, 16), (32_768, 5), (262_144, 1)])
def test_batches_are_small_where_activations_are_large(
    channels: int, at_once: int, digits: Samples, context: Context
) -> None:
    """784 numbers of each channel; at most 128 Mi of a batch are held."""
    model = models.parsed("g (float[N,1,28,28] x) => (float[N,C,28,28] y) { y = Conv(x, w) }")
    graph = Graph(models.with_weights(model, w=np.zeros((channels, 1, 1, 1), np.float32)))
    assert Calibration.of(Quantize(), digits, context, graph).batch_size == at_once


def test_nan_while_calibrating_names_the_tensor(tmp_path: Path, context: Context) -> None:
    values = np.abs(np.random.default_rng(0).standard_normal((20, 4))).astype(np.float32)
    values[:, 2] = -1  # one column of many: minima and maxima need not show it
    np.savez(tmp_path / "d.npz", x=values)
    body = "g (float[N,4] x) => (float[N,4] y) { r = Sqrt(x) y = MatMul(r, w) }"
    graph = Graph(models.with_weights(models.parsed(body), w=np.ones((4, 4), np.float32)))
    with pytest.raises(EngineError, match="'r' becomes NaN") as caught:
        QuantizePass(Quantize()).apply(graph, open_dataset(tmp_path / "d.npz", tmp_path), context)
    assert caught.value.code == FailureCode.CALIBRATION_FAILED
