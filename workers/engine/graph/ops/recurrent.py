"""RNN, GRU and LSTM, in both directions, with lengths, initial states, peepholes and any activation.

Written out step by step on batches of gates: torch's own cells lack half of what ONNX allows, and onnxruntime's
results are what must be met. Weights are [directions, gates · hidden, …].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op

Function = Callable[[Tensor], Tensor]
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
ALPHA = {"LeakyRelu": 0.01, "ThresholdedRelu": 1.0, "Elu": 1.0, "HardSigmoid": 0.2, "ScaledTanh": 1.0, "Affine": 1.0}
BETA = {"HardSigmoid": 0.5, "ScaledTanh": 1.0, "Affine": 0.0}


def _function(name: str, alpha: float, beta: float) -> Function:
    return {
        "Relu": torch.relu,
        "Tanh": torch.tanh,
        "Sigmoid": torch.sigmoid,
        "Softsign": F.softsign,
        "Softplus": F.softplus,
        "Affine": lambda x: alpha * x + beta,
        "LeakyRelu": lambda x: F.leaky_relu(x, alpha),
        "ThresholdedRelu": lambda x: torch.where(x >= alpha, x, torch.zeros_like(x)),
        "ScaledTanh": lambda x: alpha * torch.tanh(beta * x),
        "HardSigmoid": lambda x: (alpha * x + beta).clamp(0, 1),
        "Elu": lambda x: F.elu(x, alpha),
    }[name]


def _functions(node: Node, count: int, direction: int) -> list[Function]:
    """The activations of one direction; alphas and betas are listed for those that take them, in order."""
    names = node.get("activations", DEFAULTS[node.op] * 2)
    names = [n.decode() if isinstance(n, bytes) else n for n in names]
    alphas, betas = list(node.get("activation_alpha", [])), list(node.get("activation_beta", []))
    made = []
    for name in names:
        alpha = alphas.pop(0) if alphas and name in ALPHA else ALPHA.get(name, 0.0)
        beta = betas.pop(0) if betas and name in BETA else BETA.get(name, 0.0)
        made.append(_function(name, alpha, beta))
    return made[direction * count : (direction + 1) * count]


@dataclass
class _Direction:
    """The weights of one direction: W [G·H, I], R [G·H, H], biases [G·H], peepholes [3·H]; and how to compute."""

    w: Tensor
    r: Tensor
    wb: Tensor
    rb: Tensor
    peephole: Tensor | None
    functions: list[Function]
    clip: Callable[[Tensor], Tensor]
    node: Node


State = tuple[Tensor, ...]
Cell = Callable[[_Direction, Tensor, State], State]


def _rnn_cell(d: _Direction, gates: Tensor, state: State) -> State:
    (f,) = d.functions
    return (f(d.clip(gates + F.linear(state[0], d.r, d.rb))),)


def _gru_cell(d: _Direction, gates: Tensor, state: State) -> State:
    """Gates are z, r, h; `linear_before_reset` says whether r scales the state or its product."""
    (h,), (f, g), size = state, d.functions, state[0].shape[-1]
    if d.node.get("linear_before_reset", 0):
        past = F.linear(h, d.r, d.rb)
        z, r = f(d.clip(gates[..., : 2 * size] + past[..., : 2 * size])).chunk(2, -1)
        new = g(d.clip(gates[..., 2 * size :] + r * past[..., 2 * size :]))
    else:
        past = F.linear(h, d.r[: 2 * size], d.rb[: 2 * size])
        z, r = f(d.clip(gates[..., : 2 * size] + past)).chunk(2, -1)
        new = g(d.clip(gates[..., 2 * size :] + F.linear(r * h, d.r[2 * size :], d.rb[2 * size :])))
    return ((1 - z) * new + z * h,)


def _lstm_cell(d: _Direction, gates: Tensor, state: State) -> State:
    """Gates are i, o, f, c; peepholes let i, o and f see the cell state."""
    (hidden, cell), (f, g, h) = state, d.functions
    i, o, forget, c = (gates + F.linear(hidden, d.r, d.rb)).chunk(4, -1)
    pi, po, pf = d.peephole.chunk(3, -1) if d.peephole is not None else (0.0, 0.0, 0.0)
    i = f(d.clip(i + pi * cell))
    forget = 1 - i if d.node.get("input_forget", 0) else f(d.clip(forget + pf * cell))
    new = forget * cell + i * g(d.clip(c))
    return f(d.clip(o + po * new)) * h(new), new


CELLS: dict[str, tuple[Cell, int]] = {"RNN": (_rnn_cell, 1), "GRU": (_gru_cell, 1), "LSTM": (_lstm_cell, 2)}
"""The cell and its number of states."""


def _over_time(node: Node, d: _Direction, x: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """All steps of one direction over x [T, N, I]: the hidden states [T, N, H] and the last states [N, H]."""
    cell = CELLS[node.op][0]
    gates, made = F.linear(x, d.w, d.wb), []
    for step, gate in enumerate(gates.unbind(0)):
        new = cell(d, gate, state)
        if lengths is None:
            state = new
            made.append(new[0])
            continue
        alive = (step < lengths).reshape(-1, 1)
        state = tuple(torch.where(alive, n, o) for n, o in zip(new, state, strict=True))
        made.append(torch.where(alive, new[0], torch.zeros_like(new[0])))
    return torch.stack(made), state


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Time backwards, for each sample from its own end."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=x.device).reshape(-1, 1)
    back = lengths.reshape(1, -1).long() - 1 - steps
    places = torch.where(back >= 0, back, steps)
    return x.gather(0, places.unsqueeze(-1).expand_as(x))


def _direction(node: Node, number: int, weights: list[Tensor | None]) -> _Direction:
    w, r, b, p = weights
    assert w is not None and r is not None  # noqa: S101, PT018 - required inputs
    count = w.shape[1]
    bias = torch.zeros(2 * count, dtype=w.dtype, device=w.device) if b is None else b[number]
    limit = node.get("clip", None)
    clip: Any = (lambda v: v) if limit is None else (lambda v: v.clamp(-limit, limit))
    functions = _functions(node, len(DEFAULTS[node.op]), number)
    return _Direction(
        w[number], r[number], bias[:count], bias[count:], None if p is None else p[number], functions, clip, node
    )


def _run(
    node: Node, x: Tensor, weights: list[Tensor | None], lengths: Tensor | None, states: list[Tensor | None]
) -> tuple[Tensor, ...]:
    is_batch_first = node.get("layout", 0)
    x = x.transpose(0, 1) if is_batch_first else x
    count, hidden, way = CELLS[node.op][1], weights[1].shape[-1], node.get("direction", "forward")  # type: ignore[union-attr]
    outputs, finals = [], []
    for number in range(2 if way == "bidirectional" else 1):
        backwards = way == "reverse" or number == 1
        start = tuple(
            x.new_zeros(x.shape[1], hidden) if s is None else (s[:, number] if is_batch_first else s[number])
            for s in states[:count]
        )
        along = _reversed(x, lengths) if backwards else x
        made, state = _over_time(node, _direction(node, number, weights), along, start, lengths)
        outputs.append(_reversed(made, lengths) if backwards else made)
        finals.append(state)
    y = torch.stack(outputs, 1)  # [T, D, N, H]
    lasts = [torch.stack(values, 1 if is_batch_first else 0) for values in zip(*finals, strict=True)]
    return (y.permute(2, 0, 1, 3) if is_batch_first else y, *lasts)


def rnn(
    node: Node,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, ...]:
    return _run(node, x, [w, r, b, None], lengths, [hidden])


def lstm(
    node: Node,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    peephole: Tensor | None = None,
) -> tuple[Tensor, ...]:
    return _run(node, x, [w, r, b, peephole], lengths, [hidden, cell])


RECURRENT = {
    "RNN": op(rnn, learned=[1, 2, 3]),
    "GRU": op(rnn, learned=[1, 2, 3]),
    "LSTM": op(lstm, learned=[1, 2, 3, 7]),
}
