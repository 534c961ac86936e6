"""Known functions in the form that runtimes know, for whatever other form they were written out in.

A part of the graph that makes one number of another is a function, and is told by its values. Runtimes tell it by the
order of its operators, and where they do not know that, compute a dozen tensors in the place of one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from workers.engine.graph.graph import name_of
from workers.engine.passes.substituting.elementwise import computed, is_number, parts, same
from workers.engine.passes.substituting.replacement import Maker, Replacement
from workers.engine.passes.substituting.view import View

Values = NDArray[np.float64]

PLACES = np.concatenate([np.linspace(-12, 12, 481), np.array([-1e3, -50, 50, 1e3])]).astype(np.float32)
CLOSE = 2e-6
"""In float32, the values of one function written out in two ways."""

CUBIC, SLOPE = 0.044715, sqrt(2 / pi)
LEAST_OPSET = 14
"""HardSwish came with it."""


@dataclass(frozen=True)
class Known:
    """A function, the node or nodes it is written as, and its values."""

    name: str
    write: Callable[[Maker, str, str], str]
    values: Callable[[Values], Values]


def _number(made: Maker, value: float) -> str:
    return made.constant(np.array(value, np.float32))


def _write_gelu(made: Maker, x: str, output: str) -> str:
    """As PyTorch writes it: x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³))), with a power."""
    cube = made.add("Mul", made.add("Pow", x, _number(made, 3)), _number(made, CUBIC))
    bent = made.add("Tanh", made.add("Mul", made.add("Add", x, cube), _number(made, SLOPE)))
    half = made.add("Mul", x, _number(made, 0.5))
    return made.add("Mul", half, made.add("Add", bent, _number(made, 1)), output=output)


def _write_silu(made: Maker, x: str, output: str) -> str:
    return made.add("Mul", x, made.add("Sigmoid", x), output=output)


def _write_hard_swish(made: Maker, x: str, output: str) -> str:
    return made.add("HardSwish", x, output=output)


def _gelu(x: Values) -> Values:
    bent: Values = np.tanh(SLOPE * (x + CUBIC * x**3))
    return 0.5 * x * (1 + bent)


def _silu(x: Values) -> Values:
    grown: Values = np.exp(-x)
    return x / (1 + grown)


def _hard_swish(x: Values) -> Values:
    gate: Values = np.clip(x / 6 + 0.5, 0, 1)
    return x * gate


FUNCTIONS = (
    Known("GELU (by tanh)", _write_gelu, _gelu),
    Known("SiLU", _write_silu, _silu),
    Known("hard swish", _write_hard_swish, _hard_swish),
)
"""Hendrycks & Gimpel 2016 (the first two), Howard et al. 2019."""


def find(view: View) -> Iterator[Replacement]:
    """Parts that are one of the functions, and are written otherwise."""
    starts = dict.fromkeys(name for node in view.graph.nodes for name in node.input if name not in view.graph.constants)
    for start in starts if view.graph.opset >= LEAST_OPSET else ():
        for end, nodes in parts(view, start, is_number):
            if (known := _known(view, start, nodes)) is not None:
                made = Maker(name_of(nodes[-1]))
                known.write(made, start, end)
                if sorted(node.op_type for node in made.nodes) != sorted(node.op_type for node in nodes):
                    yield made.of(nodes, f"{known.name}, of {len(nodes)} operators")
                break


def _known(view: View, start: str, nodes: Sequence[NodeProto]) -> Known | None:
    if len(nodes) == 1:
        return None
    found = computed(view, start, nodes, PLACES)
    with np.errstate(over="ignore"):
        exact = PLACES.astype(np.float64)
        return next((known for known in FUNCTIONS if same(found, known.values(exact), CLOSE)), None)
