"""Corrections of `quantize`: each keeps what it must keep, and helps where its paper says it does."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.engine import models
from tests.engine.models import Array, accuracy
from whetstone.contract.datasets import Split
from whetstone.contract.quantization import Activations, Precision, Quantize, Rounding, Smooth
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.graph.edit import name_nodes
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import layers_of
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass
from workers.engine.passes.quantizing.bias_correction import mean_errors
from workers.engine.passes.quantizing.calibration import Calibration
from workers.engine.passes.quantizing.equalize import equalize, pairs_of, spread
from workers.engine.passes.quantizing.moments import linear_form, moments_of
from workers.engine.passes.quantizing.rounding import output_error
from workers.engine.passes.quantizing.smooth import observe, products, smooth


def data_of(tmp_path: Path, **arrays: Array) -> Samples:
    np.savez(tmp_path / "d.npz", **arrays)
    return open_dataset(tmp_path / "d.npz", tmp_path)


def normal(seed: int, *shape: int, scale: float = 1.0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def noise(before: Graph, after: Graph, **inputs: Array) -> float:
    """Error power over signal power at the first output."""
    (old, *_), (new, *_) = models.run(before, **inputs), models.run(after, **inputs)
    return float(((old - new) ** 2).sum() / (old**2).sum())


def conv_net(seed: int, between: str = "Relu", *, groups: int = 8) -> Graph:
    """Conv, depthwise (or grouped) Conv, Conv, pooling, Flatten and two Gemms, with something between."""
    body = f"""g (float[N,3,8,8] x) => (float[N,5] y) {{
        [c1] a = Conv <pads = [1,1,1,1]> (x, k1, b1)
        a1 = {between} (a)
        [c2] b = Conv <pads = [1,1,1,1], group = {groups}> (a1, k2, b2)
        b1r = {between} (b)
        [c3] c = Conv (b1r, k3)
        c1r = {between} (c)
        p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (c1r)
        f = Flatten (p)
        [g1] d = Gemm <transB = 1> (f, w1, v1)
        d1 = {between} (d)
        [g2] y = Gemm (d1, w2, v2)
    }}"""
    weights = {
        "k1": normal(seed, 8, 3, 3, 3, scale=0.3), "b1": normal(seed + 1, 8), "b2": normal(seed + 2, 8),
        "k2": normal(seed + 3, 8, 8 // groups, 3, 3, scale=0.3), "k3": normal(seed + 4, 6, 8, 1, 1, scale=0.4),
        "w1": normal(seed + 5, 7, 96, scale=0.1), "v1": normal(seed + 6, 7), "w2": normal(seed + 7, 7, 5),
        "v2": normal(seed + 8, 5),
    }  # fmt: skip
    return Graph(models.with_weights(models.parsed(body), **weights))


def skewed(graph: Graph) -> Graph:
    """The same function with ranges of channels a thousand times apart: what equalization is to undo."""
    graph = graph.copy()
    scales = np.geomspace(0.03, 30, 8).astype(np.float32)
    for first, bias, second in (("k1", "b1", "k2"),):
        graph.set_weight(first, graph.weight(first) * scales.reshape(-1, 1, 1, 1))
        graph.set_weight(bias, graph.weight(bias) * scales)
        graph.set_weight(second, graph.weight(second) / scales.reshape(-1, 1, 1, 1))
    return graph


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("between", ["Relu", "LeakyRelu", "Identity"])
@pytest.mark.parametrize("groups", [8, 2, 1])
def test_equalization_changes_no_output(seed: int, between: str, groups: int) -> None:
    graph = conv_net(seed, between, groups=groups)
    graph.set_weight("k1", graph.weight("k1") * np.geomspace(1e-2, 1e2, 8, dtype=np.float32).reshape(-1, 1, 1, 1))
    equalized = graph.copy()
    name_nodes(equalized)
    pairs = pairs_of(equalized)
    assert [(pair.first.name, pair.second.name) for pair in pairs] == [
        ("c1", "c2"), ("c2", "c3"), ("c3", "g1"), ("g1", "g2"),
    ]  # fmt: skip
    equalize(equalized, pairs)
    x = normal(seed, 4, 3, 8, 8)
    assert noise(graph, equalized, x=x) < 1e-10
    first = pairs[0].first
    assert spread(equalized, first) < 0.2 * spread(graph, first)


def test_equalization_passes_prelu_with_a_slope_per_channel() -> None:
    graph = conv_net(2)
    for node in graph.model.graph.node:
        if node.op_type == "Relu" and node.input[0] == "a":
            node.op_type = "PRelu"
            node.input.append("slope")
    graph.model.graph.initializer.append(numpy_helper.from_array(normal(9, 8, 1, 1), "slope"))
    graph.reindex()
    equalized = graph.copy()
    equalize(equalized, pairs_of(equalized))
    assert pairs_of(equalized)[0].first.name == "c1"
    x = normal(2, 4, 3, 8, 8)
    assert noise(graph, equalized, x=x) < 1e-10


def test_equalization_stops_where_a_factor_does_not_pass() -> None:
    for between in ("Sigmoid", "Softplus"):
        assert pairs_of(conv_net(0, between)) == ()
    graph = conv_net(0)
    graph.model.graph.output.append(helper.make_tensor_value_info("a1", 1, None))
    graph.reindex()
    assert "c1" not in [pair.first.name for pair in pairs_of(graph)]


def test_equalized_per_tensor_int8_recovers(tmp_path: Path, context: Context) -> None:
    data, graph = data_of(tmp_path, x=normal(0, 80, 3, 8, 8)), skewed(conv_net(3))
    plain = QuantizePass(Quantize(per_channel=False)).apply(graph, data, context)
    better = QuantizePass(Quantize(per_channel=False, equalize=True)).apply(graph, data, context)
    x = normal(1, 32, 3, 8, 8)
    assert noise(graph, better.graph, x=x) < 0.1 * noise(graph, plain.graph, x=x)
    assert [change.change for change in better.layers[:2]] == ["equalized with c2", "equalized with c3"]
    assert "times the median" in str(better.layers[0].before)


@pytest.mark.parametrize("config", [
    Quantize(per_channel=False), Quantize(activations=Activations.DYNAMIC, per_channel=False),
    Quantize(precision=Precision.INT4, block_size=128),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_bias_correction_takes_the_mean_error_out(
    tmp_path: Path, context: Context, config: Quantize, name: str
) -> None:
    graph = conv_net(5) if name == "conv" else Graph(models.random_mlp(hidden=32))
    shape = (3, 8, 8) if name == "conv" else (1, 28, 28)
    data = data_of(tmp_path, x=np.abs(normal(0, 160, *shape)))
    plain = QuantizePass(config).apply(graph, data, context)
    corrected = QuantizePass(config.model_copy(update={"bias_correction": True})).apply(graph, data, context)
    x = np.abs(normal(1, 256, *shape))
    (old,), (was,), (now,) = (models.run(g, x=x) for g in (graph, plain.graph, corrected.graph))
    before, after = (np.abs((each - old).mean(0)) for each in (was, now))
    assert np.median(after) < 0.5 * np.median(before)  # of channels: a few outputs are clipped, which is another error
    lines = [change for change in corrected.layers if change.change == "bias corrected"]
    assert lines
    assert all("mean error up to" in str(line.before) for line in lines)


def outlier_net(kind: str) -> Graph:
    """Two products that read one tensor with an outlier channel; `kind` says what makes that tensor."""
    makers = {
        "LayerNormalization": "h = LayerNormalization <axis = -1> (x, gamma, beta)",
        "Mul": "h = Mul(x, gamma)",
        "Add": "m = Mul(x, gamma) h = Add(m, beta)",
        "Gemm": "z = Gemm(x, square, beta) h = Relu(z)",
        "MatMul": "z = MatMul(x, square) h = Add(beta, z)",
        "gated": "z = MatMul(x, square) s = Sigmoid(x) h = Mul(s, z)",
        "nothing": "h = Softplus(x)",
    }
    body = f"""g (float[N,32] x) => (float[N,6] y) {{
        [maker] {makers[kind]}
        [p1] a = MatMul(h, w1)
        [p2] b = Gemm <transB = 1> (h, w2, v2)
        y = Add(a, b)
    }}"""
    gamma, square = np.ones(32, np.float32), normal(4, 32, 32, scale=0.2)
    gamma[5], square[:, 5] = 80, square[:, 5] * 80
    weights = {
        "gamma": gamma, "beta": normal(1, 32), "square": square, "w1": normal(2, 32, 6), "w2": normal(3, 6, 32),
        "v2": normal(5, 6),
    }  # fmt: skip
    for name in ("w1", "w2"):  # the outlier is no more important than the others
        weights[name] = weights[name] / (gamma[:, None] if name == "w1" else gamma)
    used = {name: value for name, value in weights.items() if name in body.replace("(", " ").replace(")", " ")}
    return Graph(models.with_weights(models.parsed(body), **used))


def with_outlier(count: int, seed: int, kind: str) -> Array:
    x = normal(seed, count, 32)
    if kind == "nothing":
        x[:, 5] *= 80
    return x


KINDS = ["LayerNormalization", "Mul", "Add", "Gemm", "MatMul", "gated", "nothing"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.5, None])
def test_smoothing_helps_with_an_outlier_and_is_folded_where_it_can_be(
    tmp_path: Path, context: Context, kind: str, alpha: float | None
) -> None:
    graph, data = outlier_net(kind), data_of(tmp_path, x=with_outlier(200, 0, kind))
    plain = QuantizePass(Quantize()).apply(graph, data, context)
    config = Quantize(smooth=Smooth(alpha=alpha))
    smoothed = QuantizePass(config).apply(graph, data, context)
    x = with_outlier(64, 1, kind)
    assert noise(graph, smoothed.graph, x=x) < 0.5 * noise(graph, plain.graph, x=x)
    lines = [change for change in smoothed.layers if change.change == "smoothed" and change.name in ("p1", "p2")]
    assert len(lines) == 2
    where = "by a Mul of its own" if kind == "nothing" else "folded into maker"
    assert all(where in str(line.after) for line in lines)
    assert [c.after for c in smoothed.layers if c.name == "p1" and c.change == "quantized"] == ["int8, per channel"]


@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_changes_no_output(tmp_path: Path, context: Context, kind: str) -> None:
    graph, data = outlier_net(kind), data_of(tmp_path, x=with_outlier(50, 0, kind))
    name_nodes(graph)
    smoothed = graph.copy()
    groups = products(smoothed, ())
    calibration = Calibration.of(Quantize(), data, context, graph)
    seen = observe(smoothed, list(groups), calibration.inputs, 4, context.scratch, 1)
    done = smooth(smoothed, groups, seen, Smooth(alpha=0.7), per_channel=True)
    assert all(one.alpha == 0.7 for one in done)
    x = with_outlier(64, 1, kind)
    assert noise(graph, smoothed, x=x) < 1e-10
    assert not np.allclose(graph.weight("w1"), smoothed.weight("w1"))


def test_smoothing_that_does_not_help_is_left_out(trained: Graph, digits: Samples, context: Context) -> None:
    outcome = QuantizePass(Quantize(smooth=Smooth())).apply(trained, digits, context)
    skipped = [change for change in outcome.layers if change.change == "not smoothed"]
    assert skipped
    assert skipped[0].kept_because == "no alpha lowers the error at its output enough"
    assert [node.op_type for node in outcome.graph.nodes].count("Mul") == 0


def test_a_tensor_that_others_read_too_gets_a_mul_for_the_products_alone(tmp_path: Path, context: Context) -> None:
    graph = outlier_net("LayerNormalization")
    graph.model.graph.output.append(helper.make_tensor_value_info("h", 1, ["N", 32]))
    graph.reindex()
    outcome = QuantizePass(Quantize(smooth=Smooth(alpha=0.5))).apply(
        graph, data_of(tmp_path, x=normal(0, 60, 32)), context
    )
    x = normal(1, 20, 32)
    before, after = models.run(graph, x=x), models.run(outcome.graph, x=x)
    assert np.abs(before[1] - after[1]).max() < 0.02 * np.abs(before[1]).max()
    assert "by a Mul of its own" in str(outcome.layers[0].after)


ROUNDED = [
    Quantize(per_channel=False),
    Quantize(),
    Quantize(activations=Activations.DYNAMIC),
    Quantize(precision=Precision.INT4),
    Quantize(activations=Activations.NONE),
]


@pytest.mark.parametrize("config", ROUNDED, ids=str)
@pytest.mark.parametrize("groups", [8, 2])
def test_learned_rounding_errs_less_at_the_output_of_each_layer(
    tmp_path: Path, context: Context, config: Quantize, groups: int
) -> None:
    graph, data = conv_net(7, groups=groups), data_of(tmp_path, x=np.abs(normal(0, 200, 3, 8, 8)))
    outcome = QuantizePass(config.model_copy(update={"rounding": Rounding.LEARNED})).apply(graph, data, context)
    lines = {change.name: change for change in outcome.layers if change.change == "rounding learned"}
    assert set(lines) == ({"c1", "c2", "c3", "g1", "g2"} if config.in_integers else {"g1", "g2"})
    for line in lines.values():
        before, after = (float(str(text).split()[-1]) for text in (line.before, line.after))
        assert after <= before
    assert any(
        float(str(line.after).split()[-1]) < 0.9 * float(str(line.before).split()[-1]) for line in lines.values()
    )


@pytest.mark.parametrize(
    "config", [Quantize(precision=Precision.INT4), Quantize(precision=Precision.INT4, block_size=128)]
)
def test_learned_rounding_keeps_what_four_bits_lose(
    trained: Graph, digits: Samples, context: Context, config: Quantize
) -> None:
    learned = QuantizePass(config.model_copy(update={"rounding": Rounding.LEARNED})).apply(trained, digits, context)
    nearest = QuantizePass(config).apply(trained, digits, context)
    (batch,) = digits.batches(Split.TEST, 10_000)
    assert noise(trained, learned.graph, **batch.inputs) < 0.6 * noise(trained, nearest.graph, **batch.inputs)
    assert accuracy(learned.graph, digits) >= accuracy(nearest.graph, digits) - 0.003


@pytest.mark.parametrize("layer", ["c1", "c2", "c3", "g1", "g2"])
def test_moments_tell_the_error_of_a_layer(tmp_path: Path, layer: str) -> None:
    """tr(ΔW·E[xxᵀ]·ΔWᵀ) is the mean squared error that the layer, run in onnxruntime, really makes."""
    graph, x = conv_net(7, groups=2), normal(0, 16, 3, 8, 8)
    found = next(found for found in layers_of(graph) if found.name == layer)
    form = linear_form(graph, found)
    assert not isinstance(form, str)
    ((_, moments),) = moments_of(graph, [form], lambda: [{"x": x}], tmp_path, 1)
    difference = normal(1, *found.shape)
    rows = (difference.T if form.turned else difference).reshape(form.groups, -1, form.width)
    told = sum(output_error(*pair) for pair in zip(rows, moments, strict=True))
    changed = graph.copy()
    changed.set_weight(found.weight, graph.weight(found.weight) + difference)
    made = form.node.outputs[0]
    for each in (graph, changed):
        each.model.graph.output.append(helper.make_tensor_value_info(made, 1, None))
        del each.model.graph.output[0]
    (old,), (new,) = models.run(graph, x=x), models.run(changed, x=x)
    assert told == pytest.approx(float(((new - old) ** 2).sum() / (old.size / old.shape[1])), rel=1e-4)


def test_everything_at_once(tmp_path: Path, context: Context) -> None:
    data, graph = data_of(tmp_path, x=normal(0, 120, 3, 8, 8)), skewed(conv_net(3))
    config = Quantize(equalize=True, smooth=Smooth(), rounding=Rounding.LEARNED, bias_correction=True)
    x = normal(1, 64, 3, 8, 8)
    both = (QuantizePass(each).apply(graph, data, context).graph for each in (Quantize(), config))
    plain, corrected = (noise(graph, each, x=x) for each in both)
    assert corrected < plain


def test_memory_of_corrections_does_not_grow_with_the_samples(tmp_path: Path, context: Context) -> None:
    """10,000 samples of activations of 64 kB each: 640 MB if they were kept."""
    body = "g (float[N,8] x) => (float[N,4] y) { wide = Gemm(x, w1, b1) active = Relu(wide) y = Gemm(active, w2, b2) }"
    weights = {"w1": normal(0, 8, 2048), "b1": normal(1, 2048), "w2": normal(2, 2048, 4), "b2": normal(3, 4)}
    graph = Graph(models.with_weights(models.parsed(body), **weights))
    name_nodes(graph)
    after = QuantizePass(Quantize(activations=Activations.DYNAMIC)).apply(graph, None, context).graph
    layers, peaks = layers_of(graph), []
    for count in (1_600, 10_000):

        def batches(count: int = count) -> Iterator[dict[str, Array]]:
            return ({"x": normal(number, 16, 8)} for number in range(count // 16))

        tracemalloc.start()
        mean_errors(graph, after, layers, batches, tmp_path, 1)
        observe(graph, ["x", "active"], batches, count // 16, tmp_path, 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
