"""Take away the least important weights: single ones, N of M, channels, or heads of attention."""

from typing import assert_never

from whetstone.contract.pruning import Granularity, Prune
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.pruning.channels import PruneChannels
from workers.engine.passes.pruning.elements import PruneElements


def _kind(config: Prune) -> GraphPass[Prune]:
    match config.granularity:
        case Granularity.ELEMENT | Granularity.N_M:
            return PruneElements(config)
        case Granularity.CHANNEL | Granularity.HEAD:
            return PruneChannels(config)
        case _:
            assert_never(config.granularity)


class PrunePass(GraphPass[Prune]):
    """What is done depends on the granularity alone."""

    def __init__(self, config: Prune) -> None:
        super().__init__(config)
        self._own = _kind(config)

    def requires(self, graph: Graph, data: Samples | None) -> None:
        self._own.requires(graph, data)

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        return self._own.run(graph, data, context)

    def ensures(self, before: Graph, after: Graph) -> None:
        self._own.ensures(before, after)
