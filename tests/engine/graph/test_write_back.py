"""After learning, onnxruntime computes with the written weights what the trained graph computes; at every opset."""

import numpy as np
import pytest
import torch
from onnx import ModelProto, defs, parser, version_converter

from tests.engine import models
from tests.engine.graph.networks import NETWORKS, OLDEST, normal
from tests.engine.models import Array
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable

NEWEST = defs.onnx_opset_version()
CLOSE = 1e-4


def learned(graph: Graph, x: Array, *, steps: int = 5) -> Trainable:
    """A module after a few steps of Adam, batch-norm in training mode, towards outputs the graph does not give."""
    module, given = Trainable(graph).train(), {"x": torch.from_numpy(x)}
    with torch.no_grad():
        target = torch.randn(module(given)["y"].shape, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(module(given)["y"], target).backward()
        optimizer.step()
    return module.eval()


def check(graph: Graph, x: Array) -> Graph:
    """Every weight has moved, and the written graph gives what the module gives. Returns it."""
    start = {name: weight.detach().clone() for name, weight in Trainable(graph).weights.items()}
    module, after = learned(graph, x), graph.copy()
    assert [name for name, weight in module.weights.items() if torch.equal(weight, start[name])] == []
    module.write_back(after)
    with torch.no_grad():
        ours = module({"x": torch.from_numpy(x)})["y"].numpy()
    theirs, before = models.run(after, x=x)[0], models.run(graph, x=x)[0]
    assert np.abs(theirs - ours).max() < CLOSE * np.abs(theirs).max()
    assert np.abs(theirs - before).max() > 100 * CLOSE * np.abs(theirs).max()
    return after


@pytest.mark.parametrize("name", NETWORKS)
def test_runtime_computes_what_was_learned(name: str) -> None:
    model, x = NETWORKS[name]()
    graph = Graph(model)
    after = check(graph, x)
    assert [node.name for node in after.nodes] == [node.name for node in graph.nodes]
    assert after.constants.keys() == graph.constants.keys()


@pytest.mark.parametrize("opset", range(OLDEST, NEWEST + 1))
@pytest.mark.parametrize("name", NETWORKS)
def test_at_every_opset(name: str, opset: int) -> None:
    model, x = NETWORKS[name]()
    graph = Graph(version_converter.convert_version(model, opset))
    assert graph.opset == opset
    check(graph, x)


NEW_OPS = {
    "layer norm": (17, "h = LayerNormalization (x, gain, shift) y = MatMul(h, w)"),
    "group norm": (21, "h = GroupNormalization <num_groups = 2> (x, four, four_shift) y = MatMul(h, w)"),
    "gelu": (20, "h = MatMul(x, w) y = Gelu(h)"),
    "rms norm": (23, "h = RMSNormalization (x, gain) y = MatMul(h, w)"),
    "swish": (24, "h = MatMul(x, w) y = Swish(h)"),
    "attention": (23, "q = MatMul(x, w) k = MatMul(x, v) y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, k)"),
}


@pytest.mark.parametrize("name", NEW_OPS)
def test_operators_that_came_later_learn(name: str) -> None:
    opset, text = NEW_OPS[name]
    weights = {
        "gain": 1 + normal(1, 8), "shift": normal(2, 8), "four": 1 + normal(3, 4), "four_shift": normal(4, 4),
        "w": normal(5, 8, 8), "v": normal(6, 8, 8),
    }  # fmt: skip
    used = {key: value for key, value in weights.items() if f" {key}," in text or f" {key})" in text}
    body = f"g (float[N,4,8] x) => (float[N,4,8] y) {{ {text} }}"
    check(Graph(models.with_weights(models.parsed(body, opset=opset), **used)), normal(0, 2, 4, 8, scale=1))


def control_flow(text: str, **weights: Array) -> Graph:
    head = '<ir_version: 10, opset_import: ["" : 17]>'
    model: ModelProto = parser.parse_model(f"{head} g (float[N,4] x) => (float[N,4] y) {{ {text} }}")
    return Graph(models.with_weights(model, **weights))


IF = """
    h = MatMul(x, before)
    total = ReduceSum <keepdims = 0> (h)
    zero = Constant <value_float = 0.0> ()
    positive = GreaterOrEqual(zero, zero)
    z = If (positive) <
        then_branch = yes () => (float[N,4] t) <float[4,4] w = {1,2,3,4,4,3,2,1,1,3,2,4,4,2,3,1}> {
            c = Constant <value = float[4] {0.5, -0.5, 0.25, 0.75}> ()
            m = MatMul(h, w)
            s = Mul(m, around)
            t = Add(s, c)
        },
        else_branch = no () => (float[N,4] e) { e = Identity(h) }
    >
    y = Tanh(z)
"""
LOOP = """
    turns = Constant <value_int = 3> ()
    go = Constant <value = bool {1}> ()
    last, all = Loop (turns, go, x) <
        body = turn (int64 i, bool on, float[N,4] state) => (bool more, float[N,4] next, float[N,4] seen)
        <float[4] bias = {0.1, 0.2, -0.1, -0.2}> {
            more = Identity(on)
            m = MatMul(state, w)
            b = Add(m, bias)
            next = Tanh(b)
            seen = Mul(next, around)
        }
    >
    axis = Constant <value_ints = [0]> ()
    sum = ReduceSum <keepdims = 0> (all, axis)
    y = Add(sum, last)
"""


def test_weights_in_and_around_a_branch_learn() -> None:
    graph = control_flow(IF, before=normal(1, 4, 4), around=normal(2, 4))
    names = set(Trainable(graph).weights)
    assert names == {"before", "around", "z.then_branch.w", "z.then_branch.c"}
    check(graph, normal(0, 3, 4, scale=0.2))


def test_weights_in_and_around_a_loop_learn() -> None:
    graph = control_flow(LOOP, w=normal(1, 4, 4), around=normal(2, 4))
    assert set(Trainable(graph).weights) == {"w", "around", "last.body.bias"}
    check(graph, normal(0, 3, 4, scale=1))
