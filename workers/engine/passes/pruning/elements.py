"""Set single weights to zero, at once, on a schedule while learning, or N of every M in a row."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from whetstone.contract.pruning import Criterion, Normalization, Polynomial, Prune, Scope
from whetstone.contract.reports import Curve, LayerChange
from workers.engine.data.samples import Samples
from workers.engine.graph.edit import separate_statistics
from workers.engine.graph.graph import Graph, attribute, name_of
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.passes.checks import same_interface
from workers.engine.passes.errors import BrokenResult, NothingToDo
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.learning import Masks, labelled, trainable
from workers.engine.passes.names import check_names, excluded_weights
from workers.engine.passes.pruning.gradients import weight_changes
from workers.engine.passes.pruning.magnitude import Floats, Score, Store, zero_pattern, zero_smallest
from workers.engine.passes.pruning.schedule import learn_pruning
from workers.engine.passes.pruning.scores import weight_score
from workers.engine.passes.sensitivity import scan

PRUNABLE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
"""Biases, normalizations and embeddings are left alone: few numbers, or each one looked up on its own."""
NOTE = "Zeros make the model smaller when compressed; no current CPU runtime gets faster by them."
NOTE_OF_PATTERN = f"{NOTE} GPUs with sparse tensor cores can skip 2 of 4."
SUMMED_OVER = {"Conv": 1, "ConvTranspose": 0, "Gemm": 0, "MatMul": 0, "LSTM": 2, "GRU": 2, "RNN": 2}
"""The axis of a weight that a product sums over: what N:M hardware skips along."""


def _share_of_zeros(graph: Graph, names: tuple[str, ...]) -> tuple[int, int]:
    """How many weights are zero, and of how many."""
    arrays = [graph.weight(name) for name in names]
    return sum(a.size - int(np.count_nonzero(a)) for a in arrays), sum(a.size for a in arrays)


class PruneElements(GraphPass[Prune]):
    """Exactly round(sparsity · n) weights are zero afterwards."""

    def _layers(self, graph: Graph) -> tuple[Layer, ...]:
        return tuple(
            layer for layer in layers_of(graph) if layer.op in PRUNABLE and graph.dtype(layer.weight) == "float32"
        )

    def _axes(self, graph: Graph) -> dict[str, int]:
        """Per weight the axis along which N of M go."""
        turned = {name_of(node) for node in graph.nodes if node.op_type == "Gemm" and attribute(node, "transB", 0)}
        return {
            layer.weight: 1 if layer.name in turned else SUMMED_OVER[layer.op]
            for layer in reversed(self._layers(graph))
        }

    def _kept(self, graph: Graph) -> dict[str, str]:
        """The weights that stay as they are, and why."""
        kept = dict.fromkeys(excluded_weights(graph, self.config.exclude), "it is excluded")
        if self.config.pattern is not None:
            of = int(self.config.pattern.split(":")[1])
            for name, axis in self._axes(graph).items():
                if (length := graph.constants[name].dims[axis]) % of:
                    kept.setdefault(name, f"its {length} inputs are no multiple of {of}")
        return kept

    def _weights(self, graph: Graph) -> tuple[str, ...]:
        """The names of the weights to prune, shared ones once."""
        kept = self._kept(graph)
        return tuple(dict.fromkeys(layer.weight for layer in self._layers(graph) if layer.weight not in kept))

    def requires(self, graph: Graph, data: Samples | None) -> None:
        check_names(graph, self.config.exclude)
        if not self._weights(graph):
            raise NothingToDo("There is no float32 weight of a Conv, Gemm, MatMul or recurrent layer left to prune.")
        if isinstance(self.config.schedule, Polynomial):
            trainable(graph, self.config.schedule.learning.loss, labelled(data))
        elif self.config.criterion is Criterion.TAYLOR:
            trainable(graph, None, labelled(data))

    def _score(self, changes: dict[str, Floats] | None) -> Score:
        how = self.config.normalization or Normalization.NONE
        return weight_score(self.config.criterion, how, self.config.seed, changes)

    def _changes_of_loss(self, graph: Graph, data: Samples | None) -> dict[str, Floats] | None:
        if self.config.criterion is not Criterion.TAYLOR:
            return None
        samples = labelled(data)
        return weight_changes(graph, trainable(graph, None, samples), samples, self.config.calibration_samples)

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        after, curves = graph.copy(), self._scan(graph, data, context)
        if isinstance(schedule := self.config.schedule, Polynomial):
            curves += self._learn(after, labelled(data), schedule, context)
        score, names = self._score(self._changes_of_loss(after, data)), self._weights(graph)
        self._zero(Store(names, lambda name: np.array(after.weight(name), np.float32), after.set_weight), graph, score)
        zeros, total = _share_of_zeros(after, names)
        pattern = f", {self.config.pattern} in a row" if self.config.pattern else ""
        told = f"Set {zeros:,} of {total:,} weights to zero ({zeros / total:.1%}{pattern}) in {len(names)} tensors."
        note = NOTE if self.config.pattern is None else NOTE_OF_PATTERN
        return Outcome(after, told, self._changes(graph, after), curves, (note,))

    def _zero(self, store: Store, graph: Graph, score: Score, sparsity: float | None = None) -> None:
        if self.config.pattern is not None:
            zero_pattern(store, self._axes(graph), self.config.pattern, score)
        else:
            wanted = (self.config.sparsity or 0) if sparsity is None else sparsity
            zero_smallest(store, wanted, score, self.config.scope)

    def _learn(self, graph: Graph, samples: Samples, schedule: Polynomial, context: Context) -> tuple[Curve, ...]:
        """Train `graph` in place, pruning further at every due step and holding the zeros in between."""
        separate_statistics(graph)
        module, objective = trainable(graph, schedule.learning.loss, samples)
        weights = {name: module.weights[name].data for name in self._weights(graph) if name in module.weights}
        store = Store(
            tuple(weights), lambda name: _array(weights[name]), lambda name, array: _put(weights[name], array)
        )
        masks = Masks(weights)

        def prune(sparsity: float) -> None:
            changes = None
            if self.config.criterion is Criterion.TAYLOR:
                changes = weight_changes(graph, (module, objective), samples, self.config.calibration_samples)
            self._zero(store, graph, self._score(changes), sparsity)
            masks.renew()

        curves = learn_pruning(
            graph, (module, objective), schedule, self.config.sparsity or 0.0,
            samples=samples, context=context, prune=prune, hold=masks,
        )  # fmt: skip
        module.write_back(graph)
        return curves

    def _scan(self, graph: Graph, data: Samples | None, context: Context) -> tuple[Curve, ...]:
        if not self.config.sensitivity:
            return ()
        score = self._score(self._changes_of_loss(graph, data))

        def pruned(name: str, share: float) -> Graph:
            found = graph.copy()
            store = Store((name,), lambda name: np.array(found.weight(name), np.float32), found.set_weight)
            zero_smallest(store, share, score, Scope.LAYER)
            return found

        layers = {layer.weight: layer.name for layer in reversed(self._layers(graph))}
        steps = {layers[name]: partial(pruned, name) for name in self._weights(graph)}
        return scan(graph, steps, data, context)

    def _changes(self, before: Graph, after: Graph) -> tuple[LayerChange, ...]:
        kept = self._kept(before)
        return tuple(self._change(layer, before, after, kept.get(layer.weight)) for layer in self._layers(before))

    @staticmethod
    def _change(layer: Layer, before: Graph, after: Graph, kept: str | None) -> LayerChange:
        old, new = (_share_of_zeros(graph, (layer.weight,)) for graph in (before, after))
        return LayerChange(
            name=layer.name,
            op=layer.op,
            change="left alone" if kept else "pruned",
            before=f"{old[0] / old[1]:.1%} zeros",
            after=f"{new[0] / new[1]:.1%} zeros",
            kept_because=kept,
        )

    def ensures(self, before: Graph, after: Graph) -> None:
        same_interface(before, after)
        names = self._weights(before)
        groups = [names] if self.config.scope is Scope.GLOBAL else [(name,) for name in names]
        for group in groups:
            zeros, total = _share_of_zeros(after, group)
            if zeros < round((self.config.sparsity or 0) * total):
                raise BrokenResult(f"Only {zeros} of {total} weights are zero, fewer than asked for.")


def _array(weight: Tensor) -> Floats:
    return np.array(weight.detach().cpu().numpy(), np.float32)


def _put(weight: Tensor, array: Floats) -> None:
    weight.copy_(torch.from_numpy(array))
