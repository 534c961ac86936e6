"""Small changes of structure change no result."""

import numpy as np
from onnx import helper

from tests.engine import models
from tests.engine.models import Array
from workers.engine.graph.edit import (
    name_nodes,
    separate_statistics,
    store_constants_as_initializers,
    store_weights_directly,
)
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_params, layers_of
from workers.engine.graph.macs import count_macs

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def test_constant_nodes_become_initializers() -> None:
    graph, x = Graph(models.matmul_as_constant()), normal(2, 4)
    before = models.run(graph, x=x)[0]
    store_constants_as_initializers(graph)
    assert [node.op_type for node in graph.nodes] == ["MatMul"]
    assert [layer.weight for layer in layers_of(graph)] == ["w"]
    assert (models.run(graph, x=x)[0] == before).all()


def test_aliases_and_transposes_of_constants_are_stored_and_the_rest_dropped() -> None:
    body = "g (float[N,4] x) => (float[N,3] y) { t = Transpose(w) i = Identity(t) h = MatMul(x, i) y = Add(h, b) }"
    graph, x = Graph(models.with_weights(models.parsed(body), w=normal(3, 4), b=normal(3))), normal(2, 4)
    before = models.run(graph, x=x)[0]
    store_weights_directly(graph)
    store_weights_directly(graph)
    assert [node.op_type for node in graph.nodes] == ["MatMul", "Add"]
    assert sorted(t.name for t in graph.model.graph.initializer) == ["b", "t"]
    assert count_params(graph) == 15
    assert (models.run(graph, x=x)[0] == before).all()


def test_shared_weight_stays_shared() -> None:
    body = """g (float[N,4] x) => (float[N,4] y) {
        a = Transpose(w) h = MatMul(x, a)
        b = Transpose(w) i = MatMul(h, b)
        c = Identity(w) d = Transpose <perm = [1,0]> (c) y = MatMul(i, d)
    }"""
    graph, x = Graph(models.with_weights(models.parsed(body), w=normal(4, 4))), normal(2, 4)
    before = models.run(graph, x=x)[0]
    store_weights_directly(graph)
    assert [layer.weight for layer in layers_of(graph)] == ["a", "a", "a"]
    assert [tensor.name for tensor in graph.model.graph.initializer] == ["a"]
    assert (models.run(graph, x=x)[0] == before).all()


def test_unnamed_nodes_get_the_name_they_are_known_by() -> None:
    graph = Graph(models.relu())
    name_nodes(graph)
    assert graph.nodes[0].name == "y"


def test_statistics_that_share_a_tensor_are_separated() -> None:
    model = models.cnn()
    batch_norm = next(node for node in model.graph.node if node.op_type == "BatchNormalization")
    model.graph.node.insert(0, helper.make_node("Identity", ["beta"], ["alias"]))
    batch_norm.input[3] = "alias"
    graph, x = Graph(model), normal(2, 1, 28, 28)
    before = models.run(graph, x=x)[0]
    separate_statistics(graph)
    assert graph.nodes[2].input[3] == "n1.running_mean"
    assert graph.nodes[2].input[4] == "var"
    assert (models.run(graph, x=x)[0] == before).all()


def test_macs_follow_through_reshapes_by_computed_sizes() -> None:
    body = """g (float[N,3,32] x) => (float[A,B] y) {
        shape = Shape(x)
        zero = Constant <value_int = 0> ()
        n = Gather(shape, zero)
        axis = Constant <value_ints = [0]> ()
        batch = Unsqueeze(n, axis)
        three = Constant <value_ints = [3]> ()
        four = Constant <value_ints = [4]> ()
        rows = Mul(three, four)
        size = Constant <value_ints = [8]> ()
        wanted = Concat <axis = 0> (batch, rows, size)
        split = Reshape(x, wanted)
        h = MatMul(split, w)
        like = Shape(h)
        again = Reshape(h, like)
        flat = Flatten(again)
        y = MatMul(flat, v)
    }"""
    graph = Graph(models.with_weights(models.parsed(body), w=normal(8, 5), v=normal(60, 7)))
    assert count_macs(graph) == 12 * 5 * 8 + 60 * 7


def test_absurd_sizes_are_not_computed() -> None:
    body = """g (float[N] x) => (float[N] y) {
        huge = Constant <value_ints = [1000000, 1000000]> ()
        full = ConstantOfShape(huge)
        s = Shape(full)
        y = Identity(x)
    }"""
    assert count_macs(Graph(models.parsed(body))) == 0
