"""Networks of the kinds that are learned, x in and y out, with random weights; written for opset 13."""

from collections.abc import Callable

import numpy as np
from onnx import ModelProto

from tests.engine import models
from tests.engine.models import Array

OLDEST = 13


def normal(seed: int, *shape: int, scale: float = 0.3) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def convolutions() -> tuple[ModelProto, Array]:
    """Convolutions, one depthwise, one transposed; batch-norm, pooling, a residual, a concat."""
    body = """g (float[N,2,8,8] x) => (float[N,5] y) {
        c1 = Conv <pads = [1,1,1,1]> (x, k1, b1)
        n1 = BatchNormalization (c1, gamma, beta, mean, var)
        a1 = Relu(n1)
        d = Conv <pads = [1,1,1,1], group = 6> (a1, k2)
        gate = Sigmoid(d)
        a2 = Mul(gate, d)
        s = Add(a2, a1)
        p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (s)
        t = ConvTranspose <strides = [2,2]> (p, k3, b3)
        both = Concat <axis = 1> (t, s)
        g = GlobalAveragePool(both)
        f = Flatten(g)
        y = Gemm <transB = 1> (f, w, b)
    }"""
    weights = {
        "k1": normal(1, 6, 2, 3, 3), "b1": normal(2, 6), "gamma": 1 + normal(3, 6), "beta": normal(4, 6),
        "mean": normal(5, 6), "var": 1 + np.abs(normal(6, 6)), "k2": normal(7, 6, 1, 3, 3), "k3": normal(8, 6, 4, 2, 2),
        "b3": normal(9, 4), "w": normal(10, 5, 10), "b": normal(11, 5),
    }  # fmt: skip
    return models.with_weights(models.parsed(body, opset=OLDEST), **weights), normal(0, 4, 2, 8, 8, scale=1)


def recurrent(op: str) -> tuple[ModelProto, Array]:
    """A bidirectional LSTM, GRU or RNN over x [T, N, I], and a linear layer on its last outputs."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    body = f"""g (float[T,N,3] x) => (float[N,2] y) {{
        all, last = {op} <hidden_size = 4, direction = "bidirectional"> (x, w, r, b)
        turned = Transpose <perm = [1,0,2]> (last)
        flat = Flatten(turned)
        y = MatMul(flat, out)
    }}"""
    weights = {
        "w": normal(1, 2, gates * 4, 3), "r": normal(2, 2, gates * 4, 4), "b": normal(3, 2, 2 * gates * 4),
        "out": normal(4, 8, 2),
    }  # fmt: skip
    return models.with_weights(models.parsed(body, opset=OLDEST), **weights), normal(0, 5, 3, 3, scale=1)


def _encoder(number: int, given: str) -> str:
    """Self-attention of two heads and a feed-forward part, each with a residual and a normalization written out."""
    n = number
    return f"""
        q{n} = MatMul({given}, wq) k{n} = MatMul({given}, wk) v{n} = MatMul({given}, wv)
        qs{n} = Reshape(q{n}, heads) ks{n} = Reshape(k{n}, heads) vs{n} = Reshape(v{n}, heads)
        qt{n} = Transpose <perm = [0,2,1,3]> (qs{n}) kt{n} = Transpose <perm = [0,2,3,1]> (ks{n})
        vt{n} = Transpose <perm = [0,2,1,3]> (vs{n})
        raw{n} = MatMul(qt{n}, kt{n}) scaled{n} = Mul(raw{n}, scale) p{n} = Softmax <axis = -1> (scaled{n})
        o{n} = MatMul(p{n}, vt{n}) ot{n} = Transpose <perm = [0,2,1,3]> (o{n}) of{n} = Reshape(ot{n}, joined)
        op{n} = MatMul(of{n}, wo) ob{n} = Add(op{n}, bo) r{n} = Add(ob{n}, {given})
        mu{n} = ReduceMean <axes = [-1]> (r{n}) c{n} = Sub(r{n}, mu{n}) sq{n} = Mul(c{n}, c{n})
        va{n} = ReduceMean <axes = [-1]> (sq{n}) ve{n} = Add(va{n}, tiny) sd{n} = Sqrt(ve{n}) z{n} = Div(c{n}, sd{n})
        g{n} = Mul(z{n}, gain) h{n} = Add(g{n}, shift)
        u{n} = MatMul(h{n}, w1) ub{n} = Add(u{n}, b1) e{n} = Erf(ub{n}) half{n} = Mul(ub{n}, e{n})
        f{n} = MatMul(half{n}, w2) y{n} = Add(f{n}, h{n})
    """


def transformer() -> tuple[ModelProto, Array]:
    """Token ids x [N, T] → scores: two encoder layers that share all weights, and an embedding tied to the output."""
    body = f"""g (int64[N,4] x) => (float[N,4,7] y) {{
        e = Gather(table, x)
        {_encoder(1, "e")} {_encoder(2, "y1")}
        turned = Transpose <perm = [1,0]> (table)
        y = MatMul(y2, turned)
    }}"""
    weights = {
        "table": normal(1, 7, 8), "wq": normal(2, 8, 8), "wk": normal(3, 8, 8), "wv": normal(4, 8, 8),
        "wo": normal(5, 8, 8), "bo": normal(6, 8), "gain": 1 + normal(7, 8), "shift": normal(8, 8),
        "w1": normal(9, 8, 16), "b1": normal(10, 16), "w2": normal(11, 16, 8), "heads": ints(0, 0, 2, 4),
        "joined": ints(0, 0, 8), "scale": np.float32(0.5), "tiny": np.float32(1e-5),
    }  # fmt: skip
    ids = np.random.default_rng(0).integers(0, 7, (3, 4))
    return models.with_weights(models.parsed(body, opset=OLDEST), **weights), ids


def shared_and_turned() -> tuple[ModelProto, Array]:
    """Weights read through Transpose, Identity, Reshape and Unsqueeze, some twice, and from a Constant node."""
    body = """g (float[N,4] x) => (float[N,4] y) {
        k = Constant <value = float[4] {0.1, -0.2, 0.3, -0.4}> ()
        t = Transpose(w)
        a = MatMul(x, t)
        alias = Identity(b)
        a1 = Add(a, alias)
        c = MatMul(a1, w)
        c1 = Add(c, b)
        r = Reshape(flat, square)
        d = MatMul(c1, r)
        zero = Constant <value_ints = [0]> ()
        row = Unsqueeze(k, zero)
        d1 = Mul(d, row)
        y = Tanh(d1)
    }"""
    weights = {"w": normal(1, 4, 4), "b": normal(2, 4), "flat": normal(3, 16), "square": ints(4, 4)}
    return models.with_weights(models.parsed(body, opset=OLDEST), **weights), normal(0, 3, 4, scale=1)


NETWORKS: dict[str, Callable[[], tuple[ModelProto, Array]]] = {
    "convolutions": convolutions,
    "bi-lstm": lambda: recurrent("LSTM"),
    "bi-gru": lambda: recurrent("GRU"),
    "bi-rnn": lambda: recurrent("RNN"),
    "transformer": transformer,
    "shared and turned": shared_and_turned,
}
