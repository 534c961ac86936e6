"""What runtimes can be told, and when it is worth trying."""

from collections.abc import Iterator

from whetstone.contract.jobs import Objective
from whetstone.contract.targets import AS_USUAL, GraphOptimization, RuntimeSettings, Target, toolkit_of

ONNXRUNTIME = "onnxruntime"


def applies(target: Target, settings: RuntimeSettings) -> bool:
    """Whether a target knows these settings."""
    if settings.graph_optimization is not None:
        return target.runtime == ONNXRUNTIME
    return settings.streams is None or toolkit_of(target) is None


def settings_for(targets: tuple[Target, ...], objective: Objective, cores: int) -> Iterator[RuntimeSettings]:
    """Settings worth a try, the usual ones first. Where `cores` is 1 the number of threads is not ours to choose."""
    match objective:
        case Objective.SIZE | Objective.ACCURACY:
            return
        case Objective.THROUGHPUT:
            yield AS_USUAL
            yield from (RuntimeSettings(streams=count) for count in _fewer(cores, with_all=True))
        case Objective.LATENCY | Objective.MEMORY:
            yield AS_USUAL
            yield from (RuntimeSettings(threads=count) for count in _fewer(cores, with_all=False))
    if any(target.runtime == ONNXRUNTIME for target in targets):
        yield RuntimeSettings(graph_optimization=GraphOptimization.EXTENDED)
        yield RuntimeSettings(graph_optimization=GraphOptimization.BASIC)


def _fewer(cores: int, *, with_all: bool) -> list[int]:
    """One, half of them, and all."""
    return sorted({1, max(1, cores // 2), cores} - ({1} if with_all else {cores}))
