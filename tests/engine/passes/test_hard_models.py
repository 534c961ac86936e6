"""Recurrence, attention, control flow, integer inputs, shared weights: quantized, or left with the reason told."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.engine import models
from tests.engine.models import Array
from whetstone.contract.failures import FailureCode
from whetstone.contract.quantization import Activations, Calibrator, Form, Precision, Quantize, Rounding, Smooth
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.passes.errors import BrokenResult
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass
from workers.engine.passes.quantizing.agreement import TOGETHER, agrees_at_every_batch

EVERYTHING = Quantize(equalize=True, smooth=Smooth(), rounding=Rounding.LEARNED, bias_correction=True)
CONFIGS = {
    "static": Quantize(),
    "dynamic": Quantize(activations=Activations.DYNAMIC),
    "weights": Quantize(activations=Activations.NONE),
    "int4": Quantize(precision=Precision.INT4, bias_correction=True, rounding=Rounding.LEARNED),
    "fp16": Quantize(precision=Precision.FP16),
    "bf16": Quantize(precision=Precision.BF16),
    "nvidia": Quantize(form=Form.NVIDIA),
    "everything": EVERYTHING,
}


def normal(seed: int, *shape: int, scale: float = 1.0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def recurrent(op: str, gates: int) -> Graph:
    body = f"""g (float[N,5,6] x) => (float[N,3] y) {{
        turned = Transpose <perm = [1,0,2]> (x)
        [rnn] sequence, last = {op} <hidden_size = 8> (turned, w, r, b)
        flat = Squeeze (last, axis)
        [head] y = Gemm (flat, k, v)
    }}"""
    weights = {
        "w": normal(0, 1, gates * 8, 6, scale=0.3), "r": normal(1, 1, gates * 8, 8, scale=0.3),
        "b": normal(2, 1, gates * 16, scale=0.3), "axis": np.array([0]), "k": normal(3, 8, 3), "v": normal(4, 3),
    }  # fmt: skip
    return Graph(models.with_weights(models.parsed(body), **weights))


def attention() -> Graph:
    """Tokens and a mask in; the mask makes scores of minus infinity."""
    body = """g (int64[N,7] ids, bool[N,7] mask) => (float[N,7,4] y) {
        [embed] e = Gather (table, ids)
        n = LayerNormalization <axis = -1> (e, gamma, beta)
        [q] q = MatMul (n, wq)
        [k] k = MatMul (n, wk)
        [v] v = MatMul (n, wv)
        kt = Transpose <perm = [0,2,1]> (k)
        scores = MatMul (q, kt)
        wide = Unsqueeze (mask, one)
        penalty = Where (wide, zero, low)
        masked = Add (scores, penalty)
        p = Softmax <axis = -1> (masked)
        mixed = MatMul (p, v)
        [out] y = MatMul (mixed, wo)
    }"""
    weights = {name: normal(seed, 16, 16, scale=0.2) for seed, name in enumerate(("wq", "wk", "wv"))}
    return Graph(models.with_weights(
        models.parsed(body), table=normal(5, 20, 16), gamma=np.ones(16, np.float32), beta=normal(6, 16),
        wo=normal(7, 16, 4, scale=0.2), one=np.array([1]), zero=np.float32(0), low=np.float32(-np.inf), **weights,
    ))  # fmt: skip


def branching() -> Graph:
    body = """g (float[N,4] x) => (float[N,4] y) {
        s = ReduceSum <keepdims = 0> (x)
        positive = Greater (s, zero)
        [branch] a = If (positive) <
            then_branch = t () => (float[N,4] ta) { [inner] ta = MatMul (x, wi) },
            else_branch = e () => (float[N,4] ea) { ea = Relu (x) }>
        [outer] y = MatMul (a, wo)
    }"""
    return Graph(models.with_weights(models.parsed(body), zero=np.float32(0), wi=normal(0, 4, 4), wo=normal(1, 4, 4)))


def sharing() -> Graph:
    """One matrix for two layers."""
    body = "g (float[N,8] x) => (float[N,8] y) { [one] h = MatMul (x, w) r = Relu (h) [two] y = MatMul (r, w) }"
    return Graph(models.with_weights(models.parsed(body), w=normal(0, 8, 8, scale=0.5)))


GRAPHS = {
    "lstm": lambda: recurrent("LSTM", 4),
    "gru": lambda: recurrent("GRU", 3),
    "rnn": lambda: recurrent("RNN", 1),
    "attention": attention,
    "branching": branching,
    "sharing": sharing,
    "depthwise": lambda: Graph(models.cnn()),
}


def inputs_of(name: str, seed: int, count: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    if name == "attention":
        mask = np.concatenate([np.ones((count, 4), bool), rng.random((count, 3)) > 0.5], 1)
        return {"ids": rng.integers(0, 20, (count, 7)), "mask": mask}
    shape = {"branching": (4,), "sharing": (8,), "depthwise": (1, 28, 28)}.get(name, (5, 6))
    return {"x": normal(seed, count, *shape)}


def data_of(folder: Path, name: str) -> Samples:
    np.savez(folder / "d.npz", **inputs_of(name, 0, 300))
    return open_dataset(folder / "d.npz", folder)


def noise(before: Graph, after: Graph, **inputs: Array) -> float:
    (old, *_), (new, *_) = models.run(before, **inputs), models.run(after, **inputs)
    return float(((old - new) ** 2).sum() / (old**2).sum())


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("name", GRAPHS)
def test_every_form_of_every_net_stays_close_and_accounts_for_each_layer(
    tmp_path: Path, context: Context, name: str, config: Quantize
) -> None:
    graph = GRAPHS[name]()
    outcome = QuantizePass(config).apply(graph, data_of(tmp_path, name), context)
    limit = 0.05 if config.precision is Precision.INT4 else 0.02
    assert noise(graph, outcome.graph, **inputs_of(name, 1, 12)) < limit
    told = [change for change in outcome.layers if change.change in ("quantized", "kept in float")]
    assert any(change.kept_because is None for change in told)
    assert all(change.after == change.before for change in told if change.kept_because)
    assert {change.name for change in told} >= {"lstm": {"rnn", "head"}, "attention": {"embed", "q", "out"}}.get(
        name, set()
    )


@pytest.mark.parametrize(
    ("name", "form", "layer", "reason"),
    [
        ("lstm", "static", "rnn", "LSTM has no static int8 form in onnxruntime"),
        ("gru", "dynamic", "rnn", "GRU has no dynamic int8 form in onnxruntime"),
        ("rnn", "nvidia", "rnn", "RNN has no static int8 form for NVIDIA"),
        ("attention", "int4", "embed", "Gather is no product of matrices"),
        ("branching", "static", "inner", "it is in the body of the If 'branch'"),
        ("branching", "bf16", "inner", "it is in the body of the If 'branch'"),
    ],
)
def test_what_stays_float_says_why(
    tmp_path: Path, context: Context, name: str, form: str, layer: str, reason: str
) -> None:
    outcome = QuantizePass(CONFIGS[form]).apply(GRAPHS[name](), data_of(tmp_path, name), context)
    assert {change.kept_because for change in outcome.layers if change.name == layer} == {reason}


def test_recurrence_is_quantized_dynamically(tmp_path: Path, context: Context) -> None:
    graph = GRAPHS["lstm"]()
    outcome = QuantizePass(CONFIGS["dynamic"]).apply(graph, data_of(tmp_path, "lstm"), context)
    assert [c.after for c in outcome.layers if c.name == "rnn"] == ["int8, per channel"] * 2
    assert "DynamicQuantizeLSTM" in {node.op_type for node in outcome.graph.nodes}


def test_infinite_masks_stay_float_and_the_rest_is_quantized(tmp_path: Path, context: Context) -> None:
    outcome = QuantizePass(Quantize()).apply(attention(), data_of(tmp_path, "attention"), context)
    rounded = {node.input[0] for node in outcome.graph.nodes if node.op_type == "QuantizeLinear"}
    assert not {"penalty", "masked"} & rounded
    assert {"n", "q", "p"} <= rounded


@pytest.mark.parametrize("low", [-1e4, -1e9, np.finfo(np.float32).min])
@pytest.mark.parametrize("calibrator", Calibrator)
def test_masks_of_finite_numbers_stay_float_too(
    tmp_path: Path, context: Context, low: float, calibrator: Calibrator
) -> None:
    graph, data = attention(), data_of(tmp_path, "attention")
    graph.set_weight("low", np.float32(low))
    outcome = QuantizePass(Quantize(calibrator=calibrator)).apply(graph, data, context)
    rounded = {node.input[0] for node in outcome.graph.nodes if node.op_type == "QuantizeLinear"}
    assert not {"penalty", "masked"} & rounded
    assert {"n", "q", "p"} <= rounded
    assert noise(graph, outcome.graph, **inputs_of("attention", 1, 12)) < 0.02


def test_infinity_in_a_constant_is_kept_in_float16(tmp_path: Path, context: Context) -> None:
    outcome = QuantizePass(CONFIGS["fp16"]).apply(attention(), data_of(tmp_path, "attention"), context)
    assert outcome.notes == ()
    assert np.isneginf(outcome.graph.weight("low_fp16"))


def test_only_inner_weights_are_nothing_to_quantize(context: Context) -> None:
    graph = branching()
    graph.model.graph.node[-1].CopyFrom(helper.make_node("Relu", ["a"], ["y"], "outer"))
    graph.reindex()
    with pytest.raises(EngineError, match="'inner' stays, since it is in the body of the If 'branch'") as refused:
        QuantizePass(CONFIGS["dynamic"]).apply(graph, None, context)
    assert refused.value.code is FailureCode.NOTHING_TO_DO


def test_a_shared_matrix_is_learned_for_no_single_layer(tmp_path: Path, context: Context) -> None:
    config = Quantize(rounding=Rounding.LEARNED)
    outcome = QuantizePass(config).apply(sharing(), data_of(tmp_path, "sharing"), context)
    reasons = {c.kept_because for c in outcome.layers if c.change == "rounded to nearest"}
    assert reasons == {"its weight is shared"}


def baked_in(batch: int) -> Graph:
    """A product whose result is scaled by how far the batch is from `batch`."""
    body = """g (float[N,4] x) => (float[N,4] y) {
        h = MatMul (x, w)
        shape = Shape <start = 0, end = 1> (x)
        size = Cast <to = 1> (shape)
        share = Div (size, calibrated)
        y = Mul (h, share)
    }"""
    return Graph(models.with_weights(models.parsed(body), w=normal(0, 4, 4), calibrated=np.float32([batch])))


@pytest.mark.parametrize("batch", [TOGETHER, 1])
def test_a_result_right_at_one_batch_size_only_is_refused(tmp_path: Path, batch: int) -> None:
    body = "g (float[N,4] x) => (float[N,4] y) { y = MatMul (x, w) }"
    original = Graph(models.with_weights(models.parsed(body), w=normal(0, 4, 4)))
    agrees_at_every_batch(original, original.copy(), None, tmp_path)
    with pytest.raises(BrokenResult, match="one by one"):
        agrees_at_every_batch(original, baked_in(batch), None, tmp_path)


def test_a_model_that_runs_at_batch_one_only_is_compared_there(context: Context) -> None:
    body = "g (float[N,4] x) => (float[4] y) { h = MatMul (x, w) y = Reshape (h, four) }"
    graph = Graph(models.with_weights(models.parsed(body), w=normal(0, 4, 4), four=np.array([4])))
    outcome = QuantizePass(CONFIGS["dynamic"]).apply(graph, None, context)
    assert noise(graph, outcome.graph, x=normal(1, 1, 4)) < 0.01


@pytest.mark.parametrize("config", [Quantize(), Quantize(activations=Activations.DYNAMIC, smooth=Smooth())])
def test_constant_data_is_refused_by_name(tmp_path: Path, context: Context, config: Quantize) -> None:
    np.savez(tmp_path / "d.npz", x=np.full((50, 8), 0.25, np.float32))
    with pytest.raises(EngineError, match=r"input 'x' is always 0\.25") as refused:
        QuantizePass(config).apply(sharing(), open_dataset(tmp_path / "d.npz", tmp_path), context)
    assert refused.value.code is FailureCode.CALIBRATION_FAILED
    assert refused.value.layer == "x"


def test_one_input_that_never_changes_is_noted(tmp_path: Path, context: Context) -> None:
    inputs = inputs_of("attention", 0, 300) | {"mask": np.ones((300, 7), bool)}
    np.savez(tmp_path / "d.npz", **inputs)
    outcome = QuantizePass(Quantize()).apply(attention(), open_dataset(tmp_path / "d.npz", tmp_path), context)
    assert "Input 'mask' is 1 in every calibration sample; ranges hold for that value only." in outcome.notes


def test_nan_in_the_data_names_the_array(tmp_path: Path) -> None:
    values = normal(0, 50, 8)
    values[7, 3] = np.nan
    np.savez(tmp_path / "d.npz", x=values)
    with pytest.raises(EngineError, match="'x' contains NaN") as refused:
        open_dataset(tmp_path / "d.npz", tmp_path)
    assert refused.value.code is FailureCode.INVALID_DATASET
