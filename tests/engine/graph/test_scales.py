"""Learned scales of Q/DQ graphs: they move, stay positive, and the runtime computes with them what training did."""

import numpy as np
import pytest
import torch

from tests.engine import models
from tests.engine.models import Array
from whetstone.contract.quantization import ActivationType, Form, Quantize
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.node import decode
from workers.engine.graph.scales import find_scales
from workers.engine.graph.trainable import Trainable, constants_of
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass

FIRST, SECOND = "input_scale", "weight_scale"


FORMS = {
    "uint8": Quantize(),
    "int8": Quantize(activation_type=ActivationType.INT8),
    "symmetric": Quantize(symmetric=True),
    "one scale": Quantize(per_channel=False),
    "nvidia": Quantize(form=Form.NVIDIA),
}


@pytest.fixture(scope="module", params=FORMS)
def quantized(request: pytest.FixtureRequest, digits: Samples, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    config = FORMS[request.param]
    return QuantizePass(config).apply(Graph(models.cnn()), digits, Context(tmp_path_factory.mktemp("q"))).graph


def stepped(graph: Graph, x: Array, *, steps: int = 5) -> Trainable:
    """A module after a few steps towards outputs that the graph does not give."""
    module = Trainable(graph, learn_scales=True).train()
    wanted = torch.from_numpy(np.random.default_rng(1).standard_normal((len(x), 10)).astype(np.float32))
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(module({"x": torch.from_numpy(x)})["logits"], wanted).backward()
        optimizer.step()
    return module.eval()


def images(count: int = 16) -> Array:
    return np.random.default_rng(0).random((count, 1, 28, 28)).astype(np.float32)


def scale_names(graph: Graph) -> set[str]:
    pairs = [node for node in graph.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    return {node.input[1] for node in pairs}


def test_all_scales_move_and_stay_positive_and_are_written_back(quantized: Graph) -> None:
    module, after = stepped(quantized, images()), quantized.copy()
    module.write_back(after)
    for name in scale_names(quantized):
        old, new = quantized.weight(name), after.weight(name)
        assert new.shape == old.shape
        assert new.dtype == old.dtype
        assert (new > 0).all()
        assert (new != old).any()


def test_runtime_computes_what_the_trained_graph_computed(quantized: Graph) -> None:
    x = images()
    module, after = stepped(quantized, x), quantized.copy()
    module.write_back(after)
    with torch.no_grad():
        trained = module({"x": torch.from_numpy(x)})["logits"].numpy()
    found, before = models.run(after, x=x)[0], models.run(quantized, x=x)[0]
    step = float(np.ptp(found)) / 255
    assert np.abs(found - trained).max() <= 2.01 * step  # roundings of sums may fall to the other side
    assert np.abs(found - trained).mean() <= 0.1 * step
    assert np.abs(found - before).max() > 10 * step


def test_scales_of_biases_are_those_of_their_layers_products(digits: Samples, context: Context) -> None:
    graph = QuantizePass(Quantize()).apply(Graph(models.cnn()), digits, context).graph
    module = stepped(graph, images())
    assert not [name for name in module.scales if "bias" in name]
    module.write_back(graph)
    product = graph.weight("p1_scale") * graph.weight("k2_scale")
    assert np.allclose(graph.weight("bias2_quantized_scale"), product, rtol=1e-6)
    assert graph.weight("bias2_quantized").dtype == np.int32


def two_layers(*, bias_of_both: bool) -> Graph:
    """Two convolutions of one quantized input, with biases of 32 bits: one for each, or one for both."""
    second = "b1" if bias_of_both else "b2"
    body = f"""g (float[N,2,4,4] x) => (float[N,2,4,4] y) {{
        q = QuantizeLinear(x, input_scale, zero)
        d = DequantizeLinear(q, input_scale, zero)
        w1 = DequantizeLinear(k1, weight_scale)
        w2 = DequantizeLinear(k2, other_scale)
        b1 = DequantizeLinear(i1, bias_scale)
        b2 = DequantizeLinear(i2, other_bias_scale)
        one = Conv(d, w1, b1)
        two = Conv(d, w2, {second})
        y = Add(one, two)
    }}"""
    scales = {FIRST: 0.1, SECOND: 0.2, "other_scale": 0.3, "bias_scale": 0.02, "other_bias_scale": 0.03}
    kernels = {name: np.ones((2, 2, 1, 1), np.int8) for name in ("k1", "k2")}
    biases = {name: np.ones(2, np.int32) for name in ("i1", "i2")}
    constants = {name: np.float32(value) for name, value in scales.items()} | {"zero": np.uint8(0)}
    return Graph(models.with_weights(models.parsed(body), **constants, **kernels, **biases))


def test_a_bias_of_two_layers_keeps_its_scale_and_theirs() -> None:
    for both, learned in ((False, {FIRST, SECOND, "other_scale"}), (True, set())):
        graph = two_layers(bias_of_both=both)
        found = find_scales([decode(node, graph.opset) for node in graph.nodes], constants_of(graph))
        assert found.learned == learned
        assert set(found.products) == (set() if both else {"bias_scale", "other_bias_scale"})


def test_gradients_of_scales_are_those_of_learned_step_sizes() -> None:
    """Esser et al. 2020, equation 3: inside the range round(v) - v, outside its ends, v being x / scale."""
    body = """g (float[N] x) => (float[N] y) {
        q = QuantizeLinear(x, s, z)
        y = DequantizeLinear(q, s, z)
    }"""
    graph = Graph(models.with_weights(models.parsed(body), s=np.float32(0.5), z=np.int8(0)))
    module = Trainable(graph, learn_scales=True)
    for value, expected in ((0.7, 1 - 1.4), (-0.4, -1 + 0.8), (100.0, 127), (-100.0, -128)):
        module.zero_grad()
        module({"x": torch.tensor([value])})["y"].sum().backward()
        gradient = module.scales["s"].grad
        assert gradient is not None
        assert float(gradient) / 0.5 == pytest.approx(expected, abs=1e-5)  # d/d log s is s · d/ds
