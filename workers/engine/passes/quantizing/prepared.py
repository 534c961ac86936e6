"""What the steps of `quantize` hand on to each other."""

from dataclasses import dataclass, field

from whetstone.contract.reports import LayerChange
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.passes.errors import NeedsDataset
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantizing.calibration import Calibration


@dataclass
class Prepared:
    """The graph made ready, why nodes in it stay as they are, the samples, and what has been done so far.

    `muls` are nodes that smoothing added.
    """

    graph: Graph
    reasons: dict[str, str]
    calibration: Calibration | None
    context: Context
    changes: list[LayerChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    muls: list[str] = field(default_factory=list)

    @property
    def samples(self) -> Calibration:
        """Raises NeedsDataset."""
        if self.calibration is None:
            raise NeedsDataset
        return self.calibration

    def free_layers(self) -> list[Layer]:
        """The layers that nothing keeps in float."""
        return [layer for layer in layers_of(self.graph) if layer.name not in self.reasons]
