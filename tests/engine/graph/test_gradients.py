"""Gradients of whole networks, and of operators that the standard's tests leave out, against finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.engine import models
from tests.engine.graph.networks import NETWORKS, normal
from tests.engine.models import Array
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable


def agrees(graph: Graph, x: Array, *, of_input: bool = True) -> bool:
    """Whether the gradients of all weights, and of the input, are those of finite differences, in double precision."""
    module = Trainable(graph).double().eval()
    given = torch.from_numpy(x)
    given = given.double().requires_grad_(of_input) if given.is_floating_point() else given
    weights = [given, *module.weights.values()]
    assert module.weights or of_input

    def run(*_: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = module({"x": given})["y"]
        return made

    free = tuple(weight for weight in weights if weight.requires_grad)
    check: Callable[..., bool] = torch.autograd.gradcheck
    return check(run, free, eps=1e-6, atol=1e-5, rtol=1e-4, check_undefined_grad=False)


@pytest.mark.parametrize("name", NETWORKS)
def test_of_whole_networks(name: str) -> None:
    model, x = NETWORKS[name]()
    rows = x[:, :2] if name.startswith("bi-") else x[:2]
    assert agrees(Graph(model), rows)


OTHERS = {
    "trilu": "h = Trilu <upper = 0> (x) y = MatMul(h, w)",
    "castlike": "h = CastLike(x, w) y = MatMul(h, w)",
    "sequence": "s = SequenceConstruct(x) i = SequenceInsert(s, w) y = ConcatFromSequence <axis = 0> (i)",
    "lengthwise": "h = MatMul(x, w) y = LpNormalization <p = 2> (h)",
}


@pytest.mark.parametrize("name", OTHERS)
def test_of_operators_without_tests_of_their_own(name: str) -> None:
    body = f"g (float[N,4] x) => (float[M,4] y) {{ {OTHERS[name]} }}"
    graph = Graph(models.with_weights(models.parsed(body), w=normal(1, 4, 4)))
    assert agrees(graph, normal(0, 3, 4, scale=1))


def test_of_branches() -> None:
    body = """g (float[N,4] x) => (float[N,4] y) {
        yes = Constant <value = bool {1}> ()
        y = If (yes) <
            then_branch = a () => (float[N,4] t) { m = MatMul(x, w) t = Tanh(m) },
            else_branch = b () => (float[N,4] e) { e = Identity(x) }
        >
    }"""
    assert agrees(Graph(models.with_weights(models.parsed(body), w=normal(1, 4, 4))), normal(0, 3, 4, scale=1))


ATTENTION = """g (float[N,2,3,4] x, bool[3,3] m) => (float[N,2,3,4] y) {
    k = MatMul(x, w)
    y = Attention(x, k, k, m)
}"""
EMPTY = "g (float[N,4] x) => (float[N,4] y) { h = MatMul(x, w) y = LpNormalization(h) }"


def test_where_nothing_is_seen_the_gradient_is_zero_not_nan() -> None:
    graph = Graph(models.with_weights(models.parsed(ATTENTION, opset=23), w=normal(1, 4, 4)))
    module, seen = Trainable(graph), torch.tensor([[True, False, True], [False] * 3, [True] * 3])
    module({"x": torch.from_numpy(normal(0, 2, 2, 3, 4)), "m": seen})["y"].sum().backward()
    assert torch.isfinite(module.weights["w"].grad).all()  # type: ignore[arg-type]
    assert module.weights["w"].grad.abs().max() > 0  # type: ignore[union-attr]
    norm = Trainable(Graph(models.with_weights(models.parsed(EMPTY), w=normal(1, 4, 4))))
    norm({"x": torch.tensor(np.eye(4, dtype=np.float32)) * torch.tensor([[1.0], [0], [1], [0]])})["y"].sum().backward()
    assert torch.isfinite(norm.weights["w"].grad).all()  # type: ignore[arg-type]
