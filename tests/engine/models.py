"""Tiny models and datasets: written as ONNX text, or built by hand from weights."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from torch import Tensor, nn

from whetstone.contract.datasets import Split
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph

Array = NDArray[np.generic]


def parsed(body: str, *, opset: int = 17, domains: str = "") -> ModelProto:
    """A model from the text of its graph: `g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }`."""
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}{domains}]> {body}')


def with_weights(model: ModelProto, **weights: Array) -> ModelProto:
    """Add initializers by name."""
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    return model


def relu(opset: int = 17) -> ModelProto:
    return parsed("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }", opset=opset)


def mlp(weights: list[Array], *, softmax: bool = False) -> ModelProto:
    """An MLP, x [N, 1, 28, 28] → logits [N, 10]; `weights` are W1 [784, H], b1, W2 [H, 10], b2."""
    last = "logits = Gemm(h, w2, b2) probabilities = Softmax <axis = 1> (logits)" if softmax else ""
    output = "probabilities" if softmax else "logits"
    body = f"""g (float[N,1,28,28] x) => (float[N,10] {output}) {{
        flat = Flatten(x)
        h0 = Gemm(flat, w1, b1)
        h = Relu(h0)
        {last or "logits = Gemm(h, w2, b2)"}
    }}"""
    model = with_weights(parsed(body), **dict(zip(("w1", "b1", "w2", "b2"), weights, strict=True)))
    for node in model.graph.node:
        node.name = f"{node.op_type.lower()}_{node.output[0]}"
    return model


def random_mlp(seed: int = 0, *, hidden: int = 16, softmax: bool = False) -> ModelProto:
    generator = np.random.default_rng(seed)
    shapes = [(784, hidden), (hidden,), (hidden, 10), (10,)]
    return mlp([(generator.standard_normal(s) * 0.05).astype(np.float32) for s in shapes], softmax=softmax)


def cnn(seed: int = 0) -> ModelProto:
    """A net from x [N, 1, 28, 28] to logits [N, 10] of convolutions, one depthwise, with a residual."""
    body = """g (float[N,1,28,28] x) => (float[N,10] logits) {
        c1 = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, k1)
        n1 = BatchNormalization (c1, gamma, beta, mean, var)
        a1 = Relu(n1)
        p1 = MaxPool <kernel_shape = [2,2], strides = [2,2]> (a1)
        d = Conv <kernel_shape = [3,3], pads = [1,1,1,1], group = 8> (p1, k2, bias2)
        a2 = HardSwish(d)
        s = Add(a2, p1)
        g = GlobalAveragePool(s)
        f = Flatten(g)
        logits = Gemm <transB = 1> (f, w, b)
    }"""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return (generator.standard_normal(shape) * 0.4).astype(np.float32)

    return with_weights(
        parsed(body), k1=normal(8, 1, 3, 3), gamma=1 + normal(8), beta=normal(8), mean=normal(8),
        var=1 + np.abs(normal(8)), k2=normal(8, 1, 3, 3), bias2=normal(8), w=normal(10, 8), b=normal(10),
    )  # fmt: skip


class SmallResNet(nn.Module):
    """x [N, 1, 28, 28] → logits [N, 10]: a stem that halves the image, one residual block, a wider convolution."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.k1, self.k2, self.k3 = (nn.Conv2d(a, width, 3, s, 1) for a, s in ((1, 2), (width, 1), (width, 1)))
        self.k4 = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.n1, self.n2, self.n3, self.n4 = (nn.BatchNorm2d(c) for c in (width, width, width, 2 * width))
        self.w = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.n1(self.k1(x)).relu()
        block = self.n3(self.k3(self.n2(self.k2(stem)).relu()))
        wide = self.n4(self.k4((block + stem).relu())).relu()
        return self.w(wide.mean((2, 3)))  # type: ignore[no-any-return]


def small_resnet(net: nn.Module) -> ModelProto:
    """A SmallResNet, with its weights under their own names and batch-norms apart from convolutions."""

    def conv(number: int, source: str, stride: int) -> str:
        return f"""c{number} = Conv <kernel_shape = [3,3], pads = [1,1,1,1], strides = [{stride},{stride}]>
            (x{source}, k{number}_weight, k{number}_bias)
            b{number} = BatchNormalization (c{number}, n{number}_weight, n{number}_bias,
                n{number}_running_mean, n{number}_running_var)
        """

    body = f"""g (float[N,1,28,28] x) => (float[N,10] logits) {{
        {conv(1, "", 2)} x1 = Relu(b1)
        {conv(2, "1", 1)} x2 = Relu(b2)
        {conv(3, "2", 1)} s = Add(b3, x1) x3 = Relu(s)
        {conv(4, "3", 2)} x4 = Relu(b4)
        p = GlobalAveragePool(x4) f = Flatten(p)
        logits = Gemm <transB = 1> (f, w_weight, w_bias)
    }}"""
    stored = {name.replace(".", "_"): value.numpy() for name, value in net.state_dict().items() if value.dim()}
    model = with_weights(parsed(body), **stored)
    for node in model.graph.node:
        node.name = f"{node.op_type.lower()}_{node.output[0]}"
    return model


def matmul_as_constant() -> ModelProto:
    """A MatMul whose weight sits in a Constant node, as some exporters write it."""
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    constant = helper.make_node("Constant", [], ["w"], "holder", value=numpy_helper.from_array(weight, "w"))
    product = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph([constant, product], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def saved(model: ModelProto | Graph, path: Path) -> Path:
    """Write a model and return the path."""
    onnx.save(model.model if isinstance(model, Graph) else model, path)
    return path


def run(model: ModelProto | Graph, **inputs: Array) -> list[Array]:
    """The outputs by onnxruntime on one thread."""
    proto = model.model if isinstance(model, Graph) else model
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))


def accuracy(graph: Graph, samples: Samples) -> float:
    """Share of the test split that onnxruntime gets right."""
    (batch,) = samples.batches(Split.TEST, 10_000, with_labels=True)
    (scores,) = run(graph, **batch.inputs)
    return float((scores.argmax(1) == batch.labels).mean())
