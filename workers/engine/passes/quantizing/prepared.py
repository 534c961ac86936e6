"""What the steps of `quantize` hand on to each other."""

from dataclasses import dataclass, field

from whetstone.calibration.arrays import Ranges
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import LayerChange
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.passes.errors import NeedsDataset
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantizing.calibration import PERCENTILE, Calibration
from workers.engine.passes.quantizing.statistics import Statistics


@dataclass
class Prepared:
    """The graph made ready, why nodes in it stay as they are, samples or statistics of some, and what has been done.

    `muls` are nodes that smoothing added.
    """

    graph: Graph
    reasons: dict[str, str]
    calibration: Calibration | None
    context: Context
    statistics: Statistics | None = None
    changes: list[LayerChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    muls: list[str] = field(default_factory=list)

    @property
    def samples(self) -> Calibration:
        """Raises NeedsDataset."""
        if self.calibration is None:
            raise NeedsDataset
        return self.calibration

    def ranges(self, config: Quantize) -> Ranges:
        """Of static activations. Raises CalibrationFailed, NeedsDataset."""
        if self.statistics is None:
            return self.samples.ranges(self.graph)
        return self.statistics.ranges(self.graph, config, config.percentile or PERCENTILE, self.context)

    def free_layers(self) -> list[Layer]:
        """The layers that nothing keeps in float."""
        return [layer for layer in layers_of(self.graph) if layer.name not in self.reasons]
