"""Cut channels or heads out of the graph, which gets smaller by them, and fit the rest again."""

from collections.abc import Callable
from functools import partial
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from whetstone.contract.datasets import Split
from whetstone.contract.pruning import Criterion, Granularity, OneShot, Polynomial, Prune
from whetstone.contract.reports import Curve
from workers.engine.data.samples import Samples
from workers.engine.graph.channels.cut import cut
from workers.engine.graph.channels.groups import Channels, Group, find_channels
from workers.engine.graph.edit import separate_statistics
from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.layers import count_params
from workers.engine.graph.trainable import Trainable
from workers.engine.passes.checks import same_interface
from workers.engine.passes.errors import BrokenResult, NeedsDataset, NothingToDo
from workers.engine.passes.goal import OutOfReach, check_goal, least, shapes_of, share_left
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.learning import labelled, trainable
from workers.engine.passes.names import check_names
from workers.engine.passes.pruning.choice import Candidates, Units, choose
from workers.engine.passes.pruning.reconstruct import reconstruct
from workers.engine.passes.pruning.report import changes, importance, summary
from workers.engine.passes.pruning.schedule import learn_pruning
from workers.engine.passes.pruning.units import has_batch_norm, learner_for, unit_scores
from workers.engine.passes.sensitivity import scan

NOT_FITTED = "There is no dataset: the weights behind the cuts were not fitted again."


class Silence:
    """Holds units at zero in a module while it learns: all weights that make them or take them in."""

    def __init__(self, channels: Channels, module: Trainable) -> None:
        self._channels, self._weights = channels, module.weights
        self.gone = Units()
        self._masks: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def renew(self, gone: Units) -> None:
        self.gone, self._masks = gone, []
        for each in self._channels.slices:
            weight = self._weights.get(each.site.constant)
            kept = ~np.isin(each.units, list(gone))
            if weight is None or kept.all() or self._is_shared(each.site.constant):
                continue
            shape = [-1 if axis == each.axis else 1 for axis in range(weight.dim())]
            mask = torch.from_numpy(kept.astype(np.float32)).reshape(shape).to(weight.device)
            self._masks.append((weight, mask))
        self.hold()

    def _is_shared(self, constant: str) -> bool:
        """A vector that several layers read: what takes the unit in is silenced anyway."""
        graph = self._channels.graph
        return len(graph.constants[constant].dims) <= 1 and len(graph.consumers(constant)) > 1

    @torch.no_grad()
    def hold(self) -> None:
        for weight, mask in self._masks:
            weight.mul_(mask)

    def remember(self) -> dict[str, Tensor]:
        return {"gone": torch.tensor(sorted(self.gone), dtype=torch.int64)}

    def recall(self, steps: int, kept: dict[str, Tensor]) -> None:
        del steps
        self.renew(frozenset(kept["gone"].tolist()))


def _reader(module: Trainable, graph: Graph) -> Callable[[str], Array]:
    """Weights as they are now in the module; running statistics as they came."""
    weights = module.weights
    return lambda name: weights[name].detach().cpu().numpy() if name in weights else graph.weight(name)


class PruneChannels(GraphPass[Prune]):
    """Units of the lowest scores are cut, with every slice of every weight that goes with them."""

    def _channels(self, graph: Graph, data: Samples | None) -> Channels:
        own = graph.copy()
        separate_statistics(own)
        return find_channels(own, shapes_of(data), self.config.exclude)

    def _groups(self, channels: Channels) -> tuple[Group, ...]:
        heads = self.config.granularity is Granularity.HEAD
        scaled = self.config.criterion is Criterion.BATCH_NORM
        return tuple(
            group
            for group in channels.groups
            if group.is_heads == heads and (not scaled or has_batch_norm(channels, group))
        )

    def requires(self, graph: Graph, data: Samples | None) -> None:
        check_names(graph, self.config.exclude)
        channels = self._channels(graph, data)
        if not self._groups(channels):
            raise self._nothing(channels)
        check_goal(self.config.goal, graph, data)
        if isinstance(self.config.schedule, Polynomial):
            trainable(graph, self.config.schedule.learning.loss, labelled(data))
        if self.config.criterion is Criterion.TAYLOR:
            learner_for(channels.graph, data)
        if self.config.reconstruct and (data is None or not data.has(Split.CALIBRATION)):
            raise NeedsDataset("Fitting the weights again needs a dataset.", hint="Or leave out reconstruct.")

    def _nothing(self, channels: Channels) -> NothingToDo:
        if self.config.criterion is Criterion.BATCH_NORM and channels.groups:
            return NothingToDo(
                "No channel that could be cut has a batch-norm behind it.",
                hint="Exporters fold batch-norm into convolutions; use criterion l1, l2 or taylor.",
            )
        told = "; ".join(f"'{layer}': {reason}" for layer, reason in list(channels.protected.items())[:3])
        return NothingToDo(f"No {self.config.granularity} can be cut. {told}".strip())

    def _candidates(self, channels: Channels, data: Samples | None, module: Trainable | None = None) -> Candidates:
        groups = self._groups(channels)
        read = None if module is None else _reader(module, channels.graph)
        learner = None
        if module is not None and self.config.criterion is Criterion.TAYLOR:
            learner = (module, learner_for(channels.graph, data)[1])
        scores = unit_scores(channels, groups, self.config, data=data, read=read, learner=learner)
        return Candidates(groups, scores, channels.floors)

    def _sparsity(self, channels: Channels, found: Candidates, data: Samples | None, context: Context) -> float:
        """As given, or the least that reaches the goal."""
        if self.config.goal is None:
            return self.config.sparsity or 0.0
        left = share_left(self.config.goal.of, channels.graph, data, context.scratch)
        return least(
            lambda sparsity: choose(found, sparsity, self.config),
            lambda units: left(cut(channels, units)),
            self.config.goal.share,
        )

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        channels = self._channels(graph, data)
        found = self._candidates(channels, data)
        curves = self._scan(channels, found, data, context)
        sparsity = self._sparsity(channels, found, data, context)
        match schedule := self.config.schedule:
            case OneShot():
                gone = choose(found, sparsity, self.config)
            case Polynomial():
                gone, found, learned = self._learn(channels, found, schedule, sparsity, labelled(data), context)
                curves += learned
            case _:
                assert_never(schedule)
        if not gone:
            raise NothingToDo("So few may go, by sparsity, minimum and round_to, that nothing is cut.")
        after = cut(channels, gone)
        notes = self._fit(channels, after, gone, data, context)
        told = summary(graph, after, found.groups, gone, self.config.granularity, shapes_of(data))
        scores = importance(found.groups, found.scores, gone)
        return Outcome(after, told, changes(graph, after, channels.protected), curves, notes, scores)

    def _scan(self, channels: Channels, found: Candidates, data: Samples | None, context: Context) -> tuple[Curve, ...]:
        if not self.config.sensitivity:
            return ()

        def pruned(number: int, share: float) -> Graph:
            order = np.argsort(found.scores[number], kind="stable")
            units = found.groups[number].units
            return cut(channels, [units[place] for place in order[: int(share * len(units))]])

        steps = {group.name: partial(pruned, number) for number, group in enumerate(found.groups)}
        return scan(channels.graph, steps, data, context)

    def _learn(
        self,
        channels: Channels,
        found: Candidates,
        schedule: Polynomial,
        sparsity: float,
        samples: Samples,
        context: Context,
    ) -> tuple[Units, Candidates, tuple[Curve, ...]]:
        """Train the uncut graph while more and more units are silenced. Returns those that are silent in the end, and
        what they were last chosen from: `found` where an earlier attempt had chosen them all.
        """
        if sparsity <= schedule.initial_sparsity:
            raise OutOfReach(f"The goal takes a sparsity of {sparsity:.1%}, below schedule.initial_sparsity.")
        module, objective = trainable(channels.graph, schedule.learning.loss, samples)
        silence = Silence(channels, module)

        def prune(now: float) -> None:
            nonlocal found
            found = self._candidates(channels, samples, module)
            exact = self._sparsity(channels, found, samples, context) if now >= sparsity else now
            silence.renew(choose(found, exact, self.config))

        curves = learn_pruning(
            channels.graph, (module, objective), schedule, sparsity,
            samples=samples, context=context, prune=prune, hold=silence,
        )  # fmt: skip
        module.write_back(channels.graph)
        return silence.gone, found, curves

    def _fit(
        self, channels: Channels, after: Graph, gone: Units, data: Samples | None, context: Context
    ) -> tuple[str, ...]:
        """Fit in place what is left. Returns what there is to say of it."""
        if self.config.reconstruct is False or isinstance(self.config.schedule, Polynomial):
            return ()
        if data is None or not data.has(Split.CALIBRATION):
            return (NOT_FITTED,)
        return reconstruct(channels, after, gone, data, self.config.calibration_samples, context)

    def ensures(self, before: Graph, after: Graph) -> None:
        same_interface(before, after)
        if count_params(after) >= count_params(before):
            raise BrokenResult("The graph has not become smaller.")
