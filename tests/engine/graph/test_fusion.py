"""Nodes that torch has one function for: found however they are spelled, the same results, and only where safe."""

import numpy as np
import pytest
import torch

from tests.engine import models
from tests.engine.graph.networks import normal
from tests.engine.graph.test_gradients import agrees
from workers.engine.graph.fusion import fuse
from workers.engine.graph.graph import Graph
from workers.engine.graph.trainable import Trainable, constants_of, needed

ROOT, HALF_ROOT = np.float32(np.sqrt(2)), np.float32(np.sqrt(0.5))
CONSTANTS = {
    "w": normal(1, 6, 6), "w2": normal(2, 6, 4), "b": normal(3, 6), "b4": normal(4, 4), "g": 1 + normal(5, 6),
    "root": ROOT, "half_root": HALF_ROOT, "one": np.float32(1), "half": np.float32(0.5), "two": np.float32(2),
    "tiny": np.float32(1e-5), "scale": np.float32(0.4), "mask": normal(6, 1, 1, 3, 3), "big": normal(7, 5, 1, 3, 3),
}  # fmt: skip
NORM = "m = ReduceMean <axes = [-1]> (x) c = Sub(x, m) {square} v = ReduceMean <axes = [-1]> (s) e = Add(v, tiny) "
NORM += "r = Sqrt(e) n = Div(c, r) a = Mul(n, g) y = Add(a, b)"
TURN = "k = Transpose <perm = [0,1,3,2]> (x) "

FUSED = {
    "linear": "m = MatMul(x, w2) y = Add(m, b4)",
    "linear, bias first": "m = MatMul(x, w) y = Add(b, m)",
    "linear, turned": "t = Transpose(w) m = MatMul(x, t) y = Add(m, b)",
    "linear, turned and shared": "t = Transpose(w) m = MatMul(x, t) a = Add(m, b) y = MatMul(a, t)",
    "gelu": "d = Div(x, root) e = Erf(d) p = Add(e, one) m = Mul(x, p) y = Mul(m, half)",
    "gelu, half first": "d = Mul(x, half_root) e = Erf(d) p = Add(one, e) h = Mul(x, half) y = Mul(h, p)",
    "gelu, half on the error": "d = Mul(half_root, x) e = Erf(d) p = Add(e, one) h = Mul(half, p) y = Mul(h, x)",
    "layer norm": NORM.format(square="s = Pow(c, two)"),
    "layer norm, squared": NORM.format(square="s = Mul(c, c)"),
    "attention": TURN + "l = MatMul(x, k) p = Softmax(l) y = MatMul(p, x)",
    "attention, scaled": TURN + "l = MatMul(x, k) d = Div(l, scale) p = Softmax <axis = 3> (d) y = MatMul(p, x)",
    "attention, masked": TURN + "l = MatMul(x, k) d = Mul(l, scale) a = Add(d, mask) p = Softmax(a) y = MatMul(p, x)",
    "attention, mask over more": TURN + "l = MatMul(x, k) a = Add(big, l) p = Softmax(a) y = MatMul(p, x)",
    "attention along another axis": TURN + "l = MatMul(x, k) p = Softmax <axis = 2> (l) y = MatMul(p, x)",
}
LEFT = {
    "bias of another width": "m = MatMul(x, w2) y = Add(m, two)",
    "product read twice": "m = MatMul(x, w) a = Add(m, b) y = Mul(a, m)",
    "another root": "d = Div(x, two) e = Erf(d) p = Add(e, one) m = Mul(x, p) y = Mul(m, half)",
    "no half": "d = Div(x, root) e = Erf(d) p = Add(e, one) y = Mul(x, p)",
    "another factor": "d = Div(x, root) e = Erf(d) p = Add(e, one) m = Mul(p, g) y = Mul(m, half)",
    "mean of another axis": NORM.format(square="s = Pow(c, two)").replace("[-1]", "[-2]"),
    "mean deviation": NORM.format(square="s = Abs(c)"),
    "weights looked at": TURN + "l = MatMul(x, k) p = Softmax(l) o = MatMul(p, x) t = ReduceSum(p) y = Add(o, t)",
}


def graph(text: str) -> Graph:
    used = {
        name: value for name, value in CONSTANTS.items() if any(f"{c}{name}{e}" in text for c in "( " for e in ",)")
    }
    body = f"g (float[N,2,3,6] x) => (float y) {{ {text} }}"
    model = models.with_weights(models.parsed(body), **used)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return Graph(model)


def shortened(given: Graph) -> tuple[int, int]:
    nodes = needed(given, ["y"])
    made, special = fuse(nodes, constants_of(given), ["y"])
    return len(nodes) - len(made), len(special)


@pytest.mark.parametrize("name", FUSED)
def test_is_found_and_computes_the_same(name: str) -> None:
    given, x = graph(FUSED[name]), normal(0, 1, 2, 3, 6, scale=1)
    saved, fused = shortened(given)
    assert saved >= 1
    assert fused == 1
    with torch.no_grad():
        ours = Trainable(given)({"x": torch.from_numpy(x)})["y"].numpy()
    (theirs,) = models.run(given, x=x)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
    assert agrees(given, x)


@pytest.mark.parametrize("name", LEFT)
def test_what_only_looks_so_is_left(name: str) -> None:
    given, x = graph(LEFT[name]), normal(0, 2, 2, 3, 6, scale=1)
    assert shortened(given) == (0, 0)
    with torch.no_grad():
        ours = Trainable(given)({"x": torch.from_numpy(x)})["y"].numpy()
    assert np.allclose(ours, models.run(given, x=x)[0], atol=1e-5)


def test_a_tensor_that_is_wanted_is_still_made() -> None:
    given = graph(FUSED["gelu"])
    hint = Trainable(given, ["y", "e"])({"x": torch.ones(1, 2, 3, 6)})
    assert torch.allclose(hint["e"], torch.erf(torch.tensor(HALF_ROOT)))


def test_trouble_in_a_fused_layer_is_told_under_its_own_name() -> None:
    given = graph("[dense] m = MatMul(x, w) [shift] y = Add(m, b)")
    assert Trainable(given).first_not_finite({"x": torch.full((1, 2, 3, 6), np.inf)}) == "dense"
