"""Gradients against finite differences, on the inputs of ONNX's own node tests, in double precision."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from onnx.backend.test.runner import _normalize_tensor
from torch import Tensor

from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.node import Node, Op, decode
from workers.engine.graph.ops.program import Program
from workers.engine.graph.ops.setting import Setting
from workers.engine.graph.ops.table import OPS
from workers.engine.graph.ops.values import Value, natural
from workers.engine.graph.trainable import constants_of, needed

ENOUGH = 6
"""Cases per operator."""
STRAIGHT_THROUGH = frozenset({"QuantizeLinear"})
"""Their gradient is by design not that of what they compute."""
MASKS = 1e3
"""Inputs with values as low as minus this, or infinite ones, hide something: they are held."""
FLOATS = (np.float32, np.float64)
STEP, TOLERANCE = 1e-6, 1e-4

Function = Callable[..., tuple[Tensor, ...]]


class Verdict(StrEnum):
    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_TRIED = "not tried"


def _prepared(array: Any, *, alone: bool) -> Value:
    """Floats in double precision, moved a little so that none lies on a kink; an only input is made finite."""
    if not isinstance(array, np.ndarray | np.generic):
        return array  # type: ignore[no-any-return] # a sequence, or nothing
    array = np.asarray(array)
    if array.dtype not in FLOATS:
        return natural(array)
    wide = array.astype(np.float64)
    wide = np.nan_to_num(wide, nan=1.5, posinf=1.5, neginf=1.5) if alone else wide
    return torch.from_numpy(np.asarray(wide + np.random.default_rng(0).uniform(1e-3, 3e-3, wide.shape)))


def _is_free(value: Value, original: Any) -> bool:
    """Whether an input can be varied."""
    is_float = np.asarray(original).dtype in FLOATS if isinstance(original, np.ndarray | np.generic) else False
    if not is_float or not isinstance(value, Tensor):
        return False
    return value.numel() > 0 and bool((value.isfinite() & (value > -MASKS)).all())


def _tensors(made: list[Value]) -> tuple[Tensor, ...]:
    """What can be differentiated of the outputs; elements of sequences too."""
    flat = [each for value in made for each in (value if isinstance(value, list | tuple) else [value])]
    tensors = (each for each in flat if isinstance(each, Tensor) and each.dtype == torch.float64)
    return tuple(each for each in tensors if each.requires_grad and bool(each.isfinite().all()))


def _function(graph: Graph, names: list[str], values: list[Value], free: list[int]) -> Function:
    outputs = [value.name for value in graph.model.graph.output]
    program = Program(needed(graph, outputs), names, outputs, constants_of(graph), Setting(literal=True))

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        here = values.copy()
        for place, value in zip(free, given, strict=True):
            here[place] = value
        return _tensors(program.run(here))

    return run


def _compare(case: Any, graph: Graph, node: Node, op: Op) -> Verdict:
    names = [value.name for value in graph.model.graph.input]
    originals = [_normalize_tensor(value) for value in case.data_sets[0][0]]
    values = [_prepared(array, alone=len(originals) == 1) for array in originals]
    free = [
        place
        for place, name in enumerate(names)
        if _is_free(values[place], originals[place]) and op.passes(node.inputs.index(name))
    ]
    run = _function(graph, names, values, free)
    given = [value.requires_grad_() for place in free if isinstance(value := values[place], Tensor)]
    if not given or not run(*given):
        return Verdict.NOT_TRIED
    options = {"eps": STEP, "atol": TOLERANCE, "fast_mode": True, "check_undefined_grad": False}
    agrees = torch.autograd.gradcheck(run, given, raise_exception=False, **options)  # type: ignore[arg-type]
    return Verdict.AGREES if agrees else Verdict.DIFFERS


def check_gradient(case: Any) -> Verdict:
    """Whether the gradient that autograd gives for a node test is that of finite differences."""
    graph = Graph(case.model)
    if len(graph.nodes) != 1:
        return Verdict.NOT_TRIED
    node = decode(graph.nodes[0], graph.opset)
    op = OPS.get(node.op)
    if op is None or not op.smooth or node.op in STRAIGHT_THROUGH:
        return Verdict.NOT_TRIED
    return _compare(case, graph, node, op)


def told(op: str, verdicts: list[Verdict]) -> str:
    """What the page says of an operator's gradient."""
    known = OPS.get(op)
    if known is None:
        return ""
    if not known.smooth:
        return "none"
    if op in STRAIGHT_THROUGH:
        return "straight-through"
    tried = [verdict for verdict in verdicts if verdict is not Verdict.NOT_TRIED]
    agreeing = sum(verdict is Verdict.AGREES for verdict in tried)
    return f"{agreeing} of {len(tried)}" if tried else "not tried"
