"""From the settings of a pass to the pass."""

from typing import Any, assert_never

from whetstone.contract.adaptation import Adapt
from whetstone.contract.factorization import Factorize
from whetstone.contract.learning import Finetune
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.pruning import Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.statistics import CalibrationStatistics
from whetstone.contract.substitution import Substitute
from workers.engine.passes.adapt import AdaptPass
from workers.engine.passes.factorize import FactorizePass
from workers.engine.passes.finetune import FinetunePass
from workers.engine.passes.graph_pass import GraphPass
from workers.engine.passes.prune import PrunePass
from workers.engine.passes.quantize import QuantizePass
from workers.engine.passes.simplify import SimplifyPass
from workers.engine.passes.substitute import SubstitutePass


def make(  # noqa: PLR0911 - one for each kind
    config: Pass, statistics: CalibrationStatistics | None = None
) -> GraphPass[Any]:
    """The pass for these settings; statistics serve in place of calibration samples."""
    match config:
        case Simplify():
            return SimplifyPass(config)
        case Substitute():
            return SubstitutePass(config)
        case Prune():
            return PrunePass(config)
        case Factorize():
            return FactorizePass(config)
        case Quantize():
            return QuantizePass(config, statistics)
        case Finetune():
            return FinetunePass(config)
        case Adapt():
            return AdaptPass(config)
        case _:
            assert_never(config)
