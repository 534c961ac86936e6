"""What is left of a model's cost: multiply-accumulates, parameters, or time."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from whetstone.contract.pruning import Measure
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.layers import count_params
from workers.engine.graph.macs import count_macs
from workers.engine.graph.session import Session
from workers.engine.passes.checks import probes
from workers.engine.passes.errors import NeedsDataset
from workers.engine.passes.prune_choice import OutOfReach

Shapes = dict[str, tuple[int, ...]]

SECONDS = 0.4
ROUNDS = 50
WARMUP = 3


def _macs(graph: Graph, shapes: Shapes) -> int:
    count = count_macs(graph, shapes or None)
    if not count:
        raise OutOfReach(
            "The model's multiply-accumulates cannot be counted.", hint="Give a sparsity, or a goal in parameters."
        )
    return count


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

    def ratio(graph: Graph) -> float:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            sessions = [
                _session(each, Path(folder) / f"{number}.onnx") for number, each in enumerate((graph, original))
            ]
            best = [float("inf")] * 2
            deadline = time.monotonic() + SECONDS
            for round_ in range(WARMUP + ROUNDS):
                for number, session in enumerate(sessions):
                    best[number] = min(best[number], _seconds(session, inputs[0]))
                if round_ >= WARMUP and time.monotonic() > deadline:
                    break
        return best[0] / best[1]

    return ratio


def _session(graph: Graph, path: Path) -> Session:
    graph.save(path)
    return Session(path)


def _seconds(session: Session, inputs: dict[str, Array]) -> float:
    start = time.perf_counter()
    session.run(inputs)
    return time.perf_counter() - start
