"""What a pass did, written down: the graph as a file that is handed over, and the report of it."""

from pathlib import Path

from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.passes import Pass
from whetstone.contract.reports import PassReport
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import count_nonzero, count_params
from workers.engine.graph.macs import count_macs
from workers.engine.passes.graph_pass import Outcome
from workers.engine.request import MadeFile

ONNX = "application/x-onnx"


class TooLarge(EngineError):
    """The model has more than 2 GiB of weights, which cannot be optimized yet."""

    code = FailureCode.OUT_OF_MEMORY


def saved(graph: Graph, folder: Path, name: str, kind: ArtifactKind) -> tuple[MadeFile, int]:
    """Write the graph and say how many bytes it takes. Raises TooLarge when one file cannot hold it."""
    written = graph.save(folder / name)
    if len(written) > 1:
        raise TooLarge
    return MadeFile(name=name, kind=kind, media_type=ONNX), written[0].stat().st_size


def pass_report(index: int, config: Pass, outcome: Outcome, seconds: float, size: int) -> PassReport:
    """`size` is that of the graph after the pass, in bytes."""
    graph = outcome.graph
    upgraded = (
        (f"The model came in opset {graph.upgraded_from} and was raised to {graph.opset}.",)
        if index == 0 and graph.upgraded_from
        else ()
    )
    return PassReport(
        index=index,
        config=config,
        summary=outcome.summary,
        seconds=seconds,
        params=count_params(graph),
        nonzero_params=count_nonzero(graph),
        macs=count_macs(graph),
        size=size,
        layers=outcome.layers,
        curves=outcome.curves,
        importance=outcome.importance,
        notes=(*upgraded, *outcome.notes),
    )
