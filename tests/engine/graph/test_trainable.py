"""The trainable graph computes what onnxruntime computes, and every weight learns."""

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.engine import models
from tests.engine.models import Array
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import NotTrainable, Trainable

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def torch_run(model: ModelProto, **inputs: Array) -> list[Array]:
    module = Trainable(Graph(model)).eval()
    with torch.no_grad():
        made = module({name: torch.from_numpy(np.array(value)) for name, value in inputs.items()})
    return [made[name].numpy() for name in module.outputs]


def check_same(model: ModelProto, **inputs: Array) -> None:
    for ours, theirs in zip(torch_run(model, **inputs), models.run(model, **inputs), strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(np.float64) - theirs).max() < 1e-5 * max(1, np.abs(theirs).max())


def unit(op: str, *, opset: int = 17, **attributes: object) -> ModelProto:
    """A model of one op on x [N, 4, 7, 6]."""
    node = helper.make_node(op, ["x"], ["y"], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


UNITS = {
    **{op: unit(op) for op in (
        "Relu", "LeakyRelu", "Elu", "Celu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Softsign",
        "Tanh", "Erf", "Softmax", "LogSoftmax", "Neg", "Abs", "Exp", "Reciprocal", "Sin", "Cos", "Floor", "Ceil",
        "Round", "Sign", "Flatten", "Transpose", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum",
        "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd",
        "Identity", "Dropout",
    )},
    "Mish": unit("Mish", opset=18),
    "gelu": unit("Gelu", opset=20),
    "gelu tanh": unit("Gelu", opset=20, approximate="tanh"),
    "softmax 1": unit("Softmax", axis=1),
    "flatten 2": unit("Flatten", axis=2),
    "flatten -1": unit("Flatten", axis=-1),
    "transpose": unit("Transpose", perm=[0, 2, 3, 1]),
    "mean of axes": unit("ReduceMean", axes=[2, 3], keepdims=0),
    "max pool": unit("MaxPool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    "max pool ceil": unit("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "max pool far": unit("MaxPool", kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    "average pool": unit("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1]),
    "average pool all": unit("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "average pool ceil": unit("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
}  # fmt: skip


@pytest.mark.parametrize("case", UNITS)
def test_op_computes_what_the_runtime_computes(case: str) -> None:
    check_same(UNITS[case], x=normal(2, 4, 7, 6))


WEIGHTED = {
    "conv stride dilation": "y = Conv <strides = [2,1], dilations = [1,2], pads = [1,0,2,1]> (x, k, b)",
    "conv same upper": 'y = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (x, k)',
    "conv same lower": 'y = Conv <auto_pad = "SAME_LOWER", strides = [2,2]> (x, k)',
    "conv group": "y = Conv <group = 2> (x, kg, b)",
    "transposed": "y = ConvTranspose <strides = [2,2], pads = [1,0,1,1], output_padding = [1,1]> (x, kt, bt)",
    "transposed shape": "y = ConvTranspose <strides = [2,2], output_shape = [14, 13]> (x, kt)",
    "transposed group": "y = ConvTranspose <group = 2, dilations = [2,1]> (x, kt)",
    "instance norm": "y = InstanceNormalization <epsilon = 0.01> (x, g, g)",
    "layer norm": "y = LayerNormalization <axis = -1> (x, last, last)",
    "batch norm": "y = BatchNormalization <epsilon = 0.01> (x, g, b4, b4, var)",
    "prelu": "y = PRelu(x, slope)",
    "broadcast": "a = Add(x, slope) c = Mul(a, last) d = Sub(c, slope) y = Div(d, var4)",
    "pow sqrt": "two = Constant <value_float = 2.0> () p = Pow(x, two) y = Sqrt(p)",
    "min max sum mean": "a = Min(x, slope) c = Max(x, a) d = Sum(a, c, x) y = Mean(d, x)",
    "clip": "lo = Constant <value_float = -0.5> () hi = Constant <value_float = 0.6> () y = Clip(x, lo, hi)",
    "clip low": "lo = Constant <value_float = -0.5> () y = Clip(x, lo)",
    "where": "z = Constant <value_float = 0.0> () more = Greater(x, z) less = Less(x, z) o = Or(more, less) "
    "y = Where(o, x, slope)",
    "slice": "s = Constant <value_ints = [1, -1]> () e = Constant <value_ints = [9, -99999999999]> () "
    "a = Constant <value_ints = [2, 3]> () t = Constant <value_ints = [2, -2]> () y = Slice(x, s, e, a, t)",
    "split": "s = Constant <value_ints = [1, 3]> () p, q = Split <axis = 1> (x, s) y = Concat <axis = 1> (q, p, q)",
    "split even": "p, q, r = Split <axis = 3> (x) y = Concat <axis = 0> (q, p, r)",
    "squeeze": "a = Constant <value_ints = [1, -1]> () u = Unsqueeze(x, a) o = Constant <value_ints = [1]> () "
    "y = Squeeze(u, o)",
    "reshape by shape": "s = Shape(x) n = Shape <start = 0, end = 1> (x) rest = Constant <value_ints = [-1]> () "
    "t = Concat <axis = 0> (n, rest) y = Reshape(x, t)",
    "size arithmetic": "s = Shape(x) i = Constant <value_int = 2> () h = Gather(s, i) c = Constant <value_int = 2> () "
    "half = Div(h, c) z = Constant <value_ints = [0]> () e = Unsqueeze(half, z) v = Mul(e, e) "
    "f = Cast <to = 1> (v) y = Mul(x, f)",
    "expand": "s = Constant <value_ints = [2,1,1,1,1]> () y = Expand(x, s)",
    "tile": "s = Constant <value_ints = [1,2,1,3]> () y = Tile(x, s)",
    "pad": "p = Constant <value_ints = [0,1,2,0,0,0,1,3]> () v = Constant <value_float = 1.5> () y = Pad(x, p, v)",
    "pad reflect": 'p = Constant <value_ints = [0,0,2,1,0,0,1,3]> () y = Pad <mode = "reflect"> (x, p)',
    "pad edge": 'p = Constant <value_ints = [0,0,2,1,0,0,1,3]> () y = Pad <mode = "edge"> (x, p)',
    "gather": "i = Constant <value_ints = [2, -1, 0]> () y = Gather <axis = 1> (x, i)",
    "matmul": "y = MatMul(x, m)",
    "gemm": "f = Flatten(x) z = Gemm <transA = 1, alpha = 0.5> (f, f) y = Gemm <transB = 1, beta = 2.0> (z, z, z)",
    "quantize": "q = QuantizeLinear(x, scale, zero) r = MaxPool <kernel_shape = [2,2]> (q) "
    "y = DequantizeLinear(r, scale, zero)",
    "quantized weight": "w = DequantizeLinear <axis = 0> (kq, scales, zeros) y = Conv(x, w)",
}  # fmt: skip

CONSTANTS = {
    "k": normal(4, 4, 3, 2), "b": normal(4), "kg": normal(4, 2, 3, 2), "kt": normal(4, 3, 3, 3), "bt": normal(3),
    "g": normal(4), "b4": normal(4), "var": np.abs(normal(4)) + 1, "last": normal(6), "slope": normal(4, 1, 1),
    "var4": np.abs(normal(4, 1, 1)) + 1, "m": normal(6, 5), "scale": np.float32(0.03), "zero": np.uint8(100),
    "scales": np.abs(normal(4)), "zeros": np.zeros(4, np.int8), "kq": RNG.integers(-128, 128, (4, 4, 2, 2), np.int8),
}  # fmt: skip


def weighted(case: str) -> ModelProto:
    text = WEIGHTED[case]
    used = {name: value for name, value in CONSTANTS.items() if f"{name}," in text or f"{name})" in text}
    body = f"g (float[N,4,7,6] x) => (float y) {{ {text} }}"
    return models.with_weights(models.parsed(body), **used)


@pytest.mark.parametrize("case", WEIGHTED)
def test_weighted_op_computes_what_the_runtime_computes(case: str) -> None:
    model = weighted(case)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    check_same(model, x=normal(3, 4, 7, 6))


@pytest.mark.parametrize("model", [models.random_mlp(), models.random_mlp(softmax=True), models.cnn()])
def test_network_is_the_same_and_every_weight_learns_and_is_written_back(model: ModelProto) -> None:
    x = normal(5, 1, 28, 28)
    check_same(model, x=x)
    graph = Graph(model)
    module = Trainable(graph)
    (output,) = module({"x": torch.from_numpy(x)}).values()
    (output**2).sum().backward()  # type: ignore[no-untyped-call]
    floats = {t.name for t in model.graph.initializer if t.name not in ("mean", "var")}
    assert set(module.weights) == floats
    for weight in module.weights.values():
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0
        weight.data -= 0.01 * weight.grad
    after = graph.copy()
    module.write_back(after)
    (now,) = module.eval()({"x": torch.from_numpy(x)}).values()
    assert np.abs(models.run(after, x=x)[0] - now.detach().numpy()).max() < 1e-5
    assert [n.name for n in after.nodes] == [n.name for n in graph.nodes]


def test_batch_norm_in_training_moves_its_statistics() -> None:
    graph = Graph(models.cnn())
    module = Trainable(graph).train()
    module({"x": torch.from_numpy(normal(8, 1, 28, 28))})
    after = graph.copy()
    module.write_back(after)
    assert not np.allclose(after.weight("mean"), graph.weight("mean"))


def test_weight_in_a_constant_node_learns() -> None:
    graph = Graph(models.matmul_as_constant())
    module = Trainable(graph)
    module.weights["w"].data.zero_()
    module.write_back(graph)
    assert not models.run(graph, x=normal(2, 4))[0].any()


def test_quantized_weight_learns_behind_its_integers() -> None:
    graph = Graph(weighted("quantized weight"))
    module = Trainable(graph)
    (weight,) = module.weights.values()
    module({"x": torch.from_numpy(normal(2, 4, 7, 6))})["y"].sum().backward()
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0
    before = graph.weight("kq").copy()
    module.write_back(graph)
    assert (graph.weight("kq") == before).all()
    weight.data *= 0.5
    module.write_back(graph)
    assert graph.weight("kq").dtype == np.int8
    assert np.abs(graph.weight("kq") - before / 2).max() <= 0.5


def test_unknown_op_is_refused_with_its_node_before_any_work() -> None:
    body = "g (float[N,4] x) => (float[N,4] y) { h = Relu(x) [odd_one] y = StringNormalizer(h) }"
    with pytest.raises(NotTrainable, match="'odd_one' is a StringNormalizer") as caught:
        Trainable(Graph(models.parsed(body)))
    assert caught.value.layer == "odd_one"


def test_unknown_op_beside_the_wanted_output_does_not_matter() -> None:
    body = "g (float[N,4] x) => (float[N,4] y, float z) { y = Relu(x) z = StringNormalizer(x) }"
    module = Trainable(Graph(models.parsed(body)), ["y"])
    assert list(module({"x": torch.ones(1, 4)})) == ["y"]


def test_first_node_with_nan_is_named() -> None:
    graph = Graph(models.parsed("g (float[N,4] x) => (float[N,4] y) { [a] h = Exp(x) [b] i = Log(h) [c] y = Relu(i) }"))
    module = Trainable(graph)
    assert module.first_not_finite({"x": torch.full((1, 4), 1000.0)}) == "a"
    assert module.first_not_finite({"x": torch.zeros(1, 4)}) is None


def test_numpy_helper_round_trip_of_scalars() -> None:
    graph = Graph(models.with_weights(models.relu(), s=np.float32(3)))
    graph.set_weight("s", np.float32(4))
    assert numpy_helper.to_array(graph.model.graph.initializer[0]).shape == ()
