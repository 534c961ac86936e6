"""Calibrators, weights in blocks, float16, what stays in float and why."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.engine import models
from tests.engine.models import accuracy
from whetstone.contract.failures import FailureCode
from whetstone.contract.quantization import Activations, Calibrator, Partial, Precision, Quantize, Rounding
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass
from workers.engine.passes.quantizing.ranges import find_ranges, with_shapes
from workers.engine.passes.quantizing.weight_only import packed


def size(graph: Graph) -> int:
    return len(graph.model.SerializeToString())


@pytest.mark.parametrize("calibrator", Calibrator)
def test_every_calibrator_loses_less_than_a_point(
    trained: Graph, digits: Samples, context: Context, calibrator: Calibrator
) -> None:
    outcome = QuantizePass(Quantize(calibrator=calibrator)).apply(trained, digits, context)
    assert accuracy(outcome.graph, digits) > accuracy(trained, digits) - 0.01


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    """10,000 samples of a network whose activations are 4 MB a batch: 2.5 GB if they were kept."""
    values = np.random.default_rng(0).standard_normal((10_000, 8)).astype(np.float32)
    body = "g (float[N,8] x) => (float[N,4] y) { wide = MatMul(x, w1) active = Relu(wide) y = MatMul(active, w2) }"
    weights = {"w1": np.ones((8, 32_768), np.float32), "w2": np.ones((32_768, 4), np.float32)}
    model = with_shapes(Graph(models.with_weights(models.parsed(body), **weights)))
    peaks = []
    for count in (640, 10_000):
        tracemalloc.start()
        find_ranges(
            model,
            lambda count=count: ({"x": part} for part in np.array_split(values[:count], count // 16)),
            tmp_path,
            2,
            Calibrator.ENTROPY,
            99.99,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("shape", [(64, 8), (50, 3), (33, 16)])
def test_blocks_are_what_onnxruntime_reads(tmp_path: Path, context: Context, bits: int, shape: tuple[int, int]) -> None:
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    body = f"g (float[N,{shape[0]}] x) => (float[N,{shape[1]}] y) {{ y = MatMul(x, w) }}"
    graph = Graph(models.with_weights(models.parsed(body), w=weight))
    config = Quantize(precision=Precision.INT4) if bits == 4 else Quantize(activations=Activations.NONE)
    after = QuantizePass(config).apply(graph, None, context).graph
    x = np.eye(shape[0], dtype=np.float32)
    (read,) = models.run(after, x=x)
    step = np.float32(packed(weight, bits, config.block_size).scales.max())
    assert np.abs(read - weight).max() <= 0.51 * step + 1e-5
    assert np.abs(read - weight).max() > 0
    assert tmp_path.exists()


@pytest.mark.parametrize(
    ("config", "share", "lost"),
    [
        (Quantize(precision=Precision.INT4), 0.2, 0.02),
        (Quantize(precision=Precision.INT4, block_size=128), 0.2, 0.03),
        (Quantize(activations=Activations.NONE), 0.35, 0.01),
        (Quantize(precision=Precision.FP16), 0.52, 0.01),
    ],
)
def test_smaller_and_hardly_worse(
    trained: Graph, digits: Samples, context: Context, config: Quantize, share: float, lost: float
) -> None:
    outcome = QuantizePass(config).apply(trained, digits, context)
    assert accuracy(outcome.graph, digits) > accuracy(trained, digits) - lost
    assert size(outcome.graph) < share * size(trained)
    assert [change.change for change in outcome.layers] == ["quantized"] * 2
    assert [(i.name, i.dtype) for i in outcome.graph.inputs] == [(i.name, i.dtype) for i in trained.inputs]


def test_what_cannot_be_stored_in_blocks_says_why(digits: Samples, context: Context) -> None:
    outcome = QuantizePass(Quantize(precision=Precision.INT4)).apply(Graph(models.cnn()), digits, context)
    assert [change.kept_because for change in outcome.layers] == ["Conv is no product of matrices"] * 2 + [None]


def test_a_net_without_products_has_nothing_to_store_in_blocks(context: Context) -> None:
    body = "g (float[N,1,4,4] x) => (float[N,2,4,4] y) { y = Conv(x, k) }"
    graph = Graph(models.with_weights(models.parsed(body), k=np.ones((2, 1, 1, 1), np.float32)))
    with pytest.raises(EngineError, match="no float32 weight left") as refused:
        QuantizePass(Quantize(precision=Precision.INT4)).apply(graph, None, context)
    assert refused.value.code is FailureCode.NOTHING_TO_DO


def test_what_would_overflow_stays_in_float32(tmp_path: Path, context: Context) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.standard_normal((50, 8)).astype(np.float32))
    body = """g (float[N,8] x) => (float[N,4] y) {
        [big] h = MatMul(x, w1)
        [small] s = Mul(h, tiny)
        [last] y = MatMul(s, w2)
    }"""
    weights = {
        "w1": rng.standard_normal((8, 8)).astype(np.float32) * 1e5,
        "tiny": np.full((1,), 1e-5, np.float32),
        "w2": rng.standard_normal((8, 4)).astype(np.float32),
    }
    graph = Graph(models.with_weights(models.parsed(body), **weights))
    outcome = QuantizePass(Quantize(precision=Precision.FP16)).apply(
        graph, open_dataset(tmp_path / "d.npz", tmp_path), context
    )
    assert "overflow" in str(outcome.layers[0].kept_because)
    assert outcome.layers[1].after == "float16"
    x = rng.standard_normal((5, 8)).astype(np.float32)
    (before,), (after,) = models.run(graph, x=x), models.run(outcome.graph, x=x)
    assert np.isfinite(after).all()
    assert np.abs(before - after).max() < 0.01 * np.abs(before).max()


@pytest.mark.parametrize(
    "config",
    [Quantize(exclude_ops=("Conv",)), Quantize(exclude_patterns=("k.",)), Quantize(exclude=("k1", "k2"))],
)
def test_exclusion_by_op_and_pattern(digits: Samples, context: Context, config: Quantize) -> None:
    outcome = QuantizePass(config).apply(Graph(models.cnn()), digits, context)
    assert [change.kept_because for change in outcome.layers] == ["it is excluded"] * 2 + [None]


@pytest.mark.parametrize("config", [Quantize(exclude_ops=("LSTM",)), Quantize(exclude_patterns=("nothing.*",))])
def test_an_exclusion_that_means_nothing_is_refused(digits: Samples, context: Context, config: Quantize) -> None:
    with pytest.raises(EngineError) as refused:
        QuantizePass(config).apply(Graph(models.cnn()), digits, context)
    assert refused.value.code is FailureCode.UNKNOWN_LAYER


def spoiled(trained: Graph) -> Graph:
    """The trained net with huge weights behind a unit that is always zero: 8 bits for all of them lose the others."""
    graph = trained.copy()
    w1, b1, w2 = (np.array(graph.weight(name), np.float32) for name in ("w1", "b1", "w2"))
    w1[:, 0], b1[0], w2[0, :] = 0, -1, 1e3
    for name, values in (("w1", w1), ("b1", b1), ("w2", w2)):
        graph.set_weight(name, values)
    return graph


def test_as_few_layers_as_it_takes_stay_in_float(trained: Graph, digits: Samples, context: Context) -> None:
    graph = spoiled(trained)
    whole = QuantizePass(Quantize(per_channel=False)).apply(graph, digits, context)
    assert accuracy(whole.graph, digits) < accuracy(graph, digits) - 0.03
    config = Quantize(per_channel=False, partial=Partial(max_drop=1.0))
    outcome = QuantizePass(config).apply(graph, digits, context)
    assert accuracy(outcome.graph, digits) > accuracy(graph, digits) - 0.02
    kept = [change for change in outcome.layers if change.kept_because]
    assert len(kept) == 1
    assert "relative error" in str(kept[0].kept_because)
    (curve,) = outcome.curves
    assert len(curve.x) == 2
    assert outcome.notes == whole.notes


SPARING = [
    Quantize(activations=Activations.DYNAMIC, per_channel=False),
    Quantize(per_channel=False, bias_correction=True, rounding=Rounding.LEARNED),
]


@pytest.mark.parametrize("config", SPARING, ids=str)
def test_layers_are_spared_in_every_kind_of_computing(
    trained: Graph, digits: Samples, context: Context, config: Quantize
) -> None:
    graph = spoiled(trained)
    config = config.model_copy(update={"partial": Partial(max_drop=1.0)})
    outcome = QuantizePass(config).apply(graph, digits, context)
    assert accuracy(outcome.graph, digits) > accuracy(graph, digits) - 0.02
    told = [change for change in outcome.layers if change.change in ("quantized", "kept in float")]
    assert [change.kept_because is None for change in told] == [True, False]
    corrected = [change.name for change in outcome.layers if change not in told]
    assert set(corrected) <= {"gemm_h0"}


def test_operators_around_the_layers_are_spared_first(tmp_path: Path, context: Context) -> None:
    """A cube of large values, cut down again: eight bits for it leave nothing of the small ones."""
    body = """g (float[N,16] x) => (float[N,8] y) {
        [first] h = MatMul (x, w1)
        [square] s = Mul (h, h)
        [cube] c = Mul (s, h)
        [wide] a = Mul (c, c)
        [root] r = Sqrt (a)
        [narrow] t = Tanh (r)
        [last] y = MatMul (t, w2)
    }"""
    rng = np.random.default_rng(0)
    weights = {"w1": rng.standard_normal((16, 16)), "w2": rng.standard_normal((16, 8))}
    graph = Graph(models.with_weights(models.parsed(body), **{n: w.astype(np.float32) for n, w in weights.items()}))
    x = rng.standard_normal((300, 16)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x)
    data = open_dataset(tmp_path / "d.npz", tmp_path)
    config = Quantize(partial=Partial(max_drop=1.5))
    outcome = QuantizePass(config).apply(graph, data, context)
    rounded = {node.input[0] for node in outcome.graph.nodes if node.op_type == "QuantizeLinear"}
    assert not {"s", "c", "a"} & rounded
    assert [change.kept_because for change in outcome.layers] == [None, None]
    assert any("Only products and convolutions are quantized" in note for note in outcome.notes)


def test_what_four_bits_cannot_tell_gets_eight(trained: Graph, digits: Samples, context: Context) -> None:
    graph = trained.copy()
    w2 = np.array(graph.weight("w2"), np.float32)
    w2[::5] *= 300  # one of each block's weights is huge, on units that are made as small
    w1, b1 = np.array(graph.weight("w1"), np.float32), np.array(graph.weight("b1"), np.float32)
    w1[:, ::5], b1[::5] = w1[:, ::5] / 300, b1[::5] / 300
    for name, values in (("w1", w1), ("b1", b1), ("w2", w2)):
        graph.set_weight(name, values)
    plain = QuantizePass(Quantize(precision=Precision.INT4)).apply(graph, digits, context)
    mixed = QuantizePass(Quantize(precision=Precision.INT4, partial=Partial(max_drop=1.0))).apply(
        graph, digits, context
    )
    assert accuracy(plain.graph, digits) < accuracy(graph, digits) - 0.02
    assert accuracy(mixed.graph, digits) > accuracy(plain.graph, digits)
    assert [str(change.after)[:20] for change in mixed.layers] == ["int4 in blocks of 32", "int8 in blocks of 32"]
    assert "relative error" in str(mixed.layers[1].after)
    assert size(plain.graph) < size(mixed.graph) < 0.2 * size(graph)


def test_nothing_stays_in_float_where_nothing_must(trained: Graph, digits: Samples, context: Context) -> None:
    outcome = QuantizePass(Quantize(partial=Partial(max_drop=2.0))).apply(trained, digits, context)
    assert [change.kept_because for change in outcome.layers] == [None, None]
    assert outcome.curves == ()


def test_a_limit_that_cannot_be_kept_gives_the_nearest_miss_and_says_so(
    trained: Graph, digits: Samples, context: Context
) -> None:
    config = Quantize(per_channel=False, partial=Partial(max_drop=0.0, max_trials=1))
    outcome = QuantizePass(config).apply(spoiled(trained), digits, context)
    assert any("Nearest miss kept" in note for note in outcome.notes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "int4", "activations": "static"},
        {"precision": "fp16", "activations": "dynamic"},
        {"precision": "fp16", "partial": {}},
        {"percentile": 99.9},
        {"exclude_patterns": ["("]},
        {"block_size": 33},
    ],
)
def test_settings_that_contradict_each_other(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Quantize.model_validate(wrong)
