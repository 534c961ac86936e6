"""Reaching a goal: what is left of a model's cost, and the least that has to go for it."""

import tempfile
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import TypeVar, assert_never

from whetstone.calibration.session import Session
from whetstone.contract.failures import FailureCode
from whetstone.contract.pruning import Goal, Measure
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_params
from workers.engine.graph.macs import count_macs
from workers.engine.measure.quick import compare_briefly
from workers.engine.passes.checks import probes
from workers.engine.passes.errors import NeedsDataset

Shapes = dict[str, tuple[int, ...]]

BISECTIONS = 20
SECONDS = 0.4
ROUNDS = 50

ChoiceT = TypeVar("ChoiceT", bound=Hashable)


class OutOfReach(EngineError):
    """The goal cannot be reached by this pass."""

    code = FailureCode.NOTHING_TO_DO
    hint = "Ask for a larger share, exclude less, or let less stay."


def least(pick: Callable[[float], ChoiceT], left: Callable[[ChoiceT], float], share: float) -> float:
    """The least severity, 0 to 1, at which at most `share` is left, by bisection. Raises OutOfReach.

    `left` measures what is left of the model's cost after a choice; severities that choose alike are measured once.
    """
    known: dict[ChoiceT, float] = {}

    def after(severity: float) -> float:
        choice = pick(severity)
        if choice not in known:
            known[choice] = left(choice)
        return known[choice]

    low, high = 0.0, 1.0
    if (rest := after(high)) > share:
        raise OutOfReach(f"With all that may go gone, {rest:.1%} are left; the goal is {share:.1%}.")
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if after(middle) <= share else (middle, high)
    return high


def _macs(graph: Graph, shapes: Shapes) -> int:
    count = count_macs(graph, shapes or None)
    if not count:
        raise OutOfReach(
            "The model's multiply-accumulates cannot be counted.", hint="Set the goal in parameters, or set none."
        )
    return count


def check_goal(goal: Goal | None, graph: Graph, data: Samples | None) -> None:
    """Raises OutOfReach for a goal in multiply-accumulates that cannot be counted."""
    if goal is not None and goal.of is Measure.MACS:
        _macs(graph, shapes_of(data))


def share_left(measure: Measure, original: Graph, data: Samples | None, scratch: Path) -> Callable[[Graph], float]:
    """A function that tells which share of the original's cost another graph has."""
    shapes = shapes_of(data)
    match measure:
        case Measure.MACS:
            macs = _macs(original, shapes)
            return lambda graph: _macs(graph, shapes) / macs
        case Measure.PARAMETERS:
            params = count_params(original)
            return lambda graph: count_params(graph) / params
        case Measure.LATENCY:
            return _time_ratio(original, data, scratch)
        case _:
            assert_never(measure)


def shapes_of(data: Samples | None) -> Shapes:
    """The full shape of one sample of each input."""
    return {} if data is None else {field.name: (1, *field.shape) for field in data.facts().fields}


def _time_ratio(original: Graph, data: Samples | None, scratch: Path) -> Callable[[Graph], float]:
    inputs = probes(original, data)[:1]
    if not inputs:
        raise NeedsDataset("A latency can only be measured with inputs, and they cannot be made up.")

    def share(graph: Graph) -> float:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            sessions = [
                _session(each, Path(folder) / f"{number}.onnx") for number, each in enumerate((original, graph))
            ]
            before, after = (partial(session.run, inputs[0]) for session in sessions)
            return 1 / compare_briefly(before, after, ROUNDS, SECONDS).ratio

    return share


def _session(graph: Graph, path: Path) -> Session:
    graph.save(path)
    return Session(path)
