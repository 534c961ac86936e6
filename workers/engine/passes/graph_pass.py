"""What a pass is: requires → run → ensures."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from whetstone.contract.insights import Importance
from whetstone.contract.learning import Learning
from whetstone.contract.reports import Curve, LayerChange
from whetstone.contract.steps import InputRole
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.passes.checks import same_interface, still_runs
from workers.engine.passes.errors import NeedsDataset, NeedsModel
from workers.engine.training.keeping import Keeper

ConfigT = TypeVar("ConfigT")

Tell = Callable[[float, str, dict[str, float]], None]
"""Progress of one pass: the share done, a sentence, and numbers for drawing."""


def _say_nothing(_share: float, _message: str, _metrics: dict[str, float]) -> None:
    pass


def _no_model(role: InputRole) -> Graph:
    raise NeedsModel(f"The step has no {role} model.")


def _no_source(_graph: Graph) -> Samples:
    raise NeedsDataset("The step has no samples of the source domain.", hint="Name their dataset in the pass.")


@dataclass(frozen=True)
class Context:
    """Where a pass may write, how many threads it may use, and whom it tells of its progress.

    `batch_size` is how many samples at once the result will be measured with, and so what passes time graphs with.
    `model` opens one of the step's models anew: the original, a teacher, a student; `source` the dataset of the domain
    that a model comes from, if it fits the graph. `keeper`, given a number of steps, says where a pass keeps how far it
    has learned; None where nothing is kept.
    """

    scratch: Path
    threads: int = 1
    tell: Tell = _say_nothing
    model: Callable[[InputRole], Graph] = _no_model
    source: Callable[[Graph], Samples] = _no_source
    keeper: Callable[[int], Keeper] | None = None
    batch_size: int = 1

    def keeper_for(self, learning: Learning) -> Keeper | None:
        """Where to keep how far learning has got; None unless it asks for that, and there is a place."""
        every = learning.checkpoint_every
        return None if every is None or self.keeper is None else self.keeper(every)


@dataclass(frozen=True)
class Outcome:
    """What a pass made of a graph: in a sentence, per layer, in curves, and by which scores it chose what to cut."""

    graph: Graph
    summary: str
    layers: tuple[LayerChange, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
    importance: tuple[Importance, ...] = ()


class GraphPass(ABC, Generic[ConfigT]):
    """One kind of change, with its settings. `apply` is what others call."""

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    def requires(self, graph: Graph, data: Samples | None) -> None:
        """Refuse, with a sentence, before any work is done."""

    @abstractmethod
    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        """Return a new graph; never touch the one given."""

    def ensures(self, before: Graph, after: Graph) -> None:
        """Check what must now hold."""
        same_interface(before, after)

    def apply(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        """All three, and a run of the result in onnxruntime at two batch sizes."""
        self.requires(graph, data)
        outcome = self.run(graph, data, context)
        self.ensures(graph, outcome.graph)
        still_runs(graph, outcome.graph, data, context.scratch)
        return outcome
