"""Set the least important weights to zero, at once or on a schedule while learning."""

from typing import assert_never

import numpy as np
from torch import Tensor

from whetstone.contract.pruning import OneShot, Polynomial, Prune, Scope
from whetstone.contract.reports import Curve, LayerChange
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.graph.edit import separate_statistics
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.passes.checks import same_interface
from workers.engine.passes.errors import BrokenResult, NothingToDo
from workers.engine.passes.graph_pass import Context, GraphPass, Outcome
from workers.engine.passes.learning import Masks, labelled, telling, trainable
from workers.engine.passes.magnitude import Store, zero_smallest
from workers.engine.passes.names import check_names, excluded_weights
from workers.engine.training.loop import Course, learn

PRUNABLE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"})
"""Biases, normalizations and embeddings are left alone: few numbers, or each one looked up on its own."""
NOTE = "Zeros make the model smaller when compressed; no current CPU runtime gets faster by them."


def sparsity_at(step: int, schedule: Polynomial, final: float) -> float:
    """Zhu & Gupta 2017, equation 1: s_f + (s_i - s_f)(1 - (t - t_0) / (n Δt))³; constant before and after."""
    length = schedule.end_step - schedule.begin_step
    progress = min(max((step - schedule.begin_step) / length, 0.0), 1.0)
    return final + (schedule.initial_sparsity - final) * (1 - progress) ** 3


def is_due(step: int, schedule: Polynomial) -> bool:
    """Whether weights are pruned after this many optimizer steps."""
    since = step - schedule.begin_step
    return since >= 0 and step <= schedule.end_step and (since % schedule.every == 0 or step == schedule.end_step)


def _share_of_zeros(graph: Graph, names: tuple[str, ...]) -> tuple[int, int]:
    """How many weights are zero, and of how many."""
    arrays = [graph.weight(name) for name in names]
    return sum(a.size - int(np.count_nonzero(a)) for a in arrays), sum(a.size for a in arrays)


class PrunePass(GraphPass[Prune]):
    """Element sparsity: exactly round(sparsity · n) weights are zero afterwards."""

    def _layers(self, graph: Graph) -> tuple[Layer, ...]:
        return tuple(
            layer for layer in layers_of(graph) if layer.op in PRUNABLE and graph.dtype(layer.weight) == "float32"
        )

    def _weights(self, graph: Graph) -> tuple[str, ...]:
        """The names of the weights to prune, shared ones once."""
        excluded = excluded_weights(graph, self.config.exclude)
        return tuple(dict.fromkeys(layer.weight for layer in self._layers(graph) if layer.weight not in excluded))

    def requires(self, graph: Graph, data: Samples | None) -> None:
        check_names(graph, self.config.exclude)
        if not self._weights(graph):
            raise NothingToDo("There is no float32 weight of a Conv, Gemm, MatMul or recurrent layer left to prune.")
        if isinstance(self.config.schedule, Polynomial):
            labelled(data)
            trainable(graph, self.config.schedule.learning.loss)

    def run(self, graph: Graph, data: Samples | None, context: Context) -> Outcome:
        after = graph.copy()
        curves: tuple[Curve, ...] = ()
        match schedule := self.config.schedule:
            case OneShot():
                pass
            case Polynomial():
                curves = self._learn(after, labelled(data), schedule, context)
            case _:
                assert_never(schedule)
        names = self._weights(graph)
        self._zero(Store(names, lambda name: np.array(after.weight(name), np.float32), after.set_weight))
        zeros, total = _share_of_zeros(after, names)
        summary = f"Set {zeros:,} of {total:,} weights to zero ({zeros / total:.1%}) in {len(names)} tensors."
        return Outcome(after, summary, self._changes(graph, after), curves, (NOTE,))

    def _zero(self, store: Store, sparsity: float | None = None) -> None:
        wanted = self.config.sparsity if sparsity is None else sparsity
        zero_smallest(store, wanted, self.config.criterion, self.config.scope)

    def _learn(self, graph: Graph, samples: Samples, schedule: Polynomial, context: Context) -> tuple[Curve, ...]:
        """Train `graph` in place, pruning further at every due step and holding the zeros in between."""
        separate_statistics(graph)
        module, objective = trainable(graph, schedule.learning.loss)
        weights: dict[str, Tensor] = {n: module.weights[n].data for n in self._weights(graph) if n in module.weights}
        store = Store(tuple(weights), lambda name: weights[name].numpy(), lambda _name, _array: None)
        masks, history = Masks(weights), []

        def after_step(step: int) -> None:
            masks.hold()
            if is_due(step, schedule):
                history.append((step, sparsity_at(step, schedule, self.config.sparsity)))
                self._zero(store, history[-1][1])
                masks.renew()

        after_step(0)
        course = Course(
            samples,
            schedule.learning,
            objective,
            context.threads,
            min_steps=schedule.end_step,
            feed_singly=fixed_at_one(graph.inputs),
            hooks=telling(context, after_step),
        )
        learned = learn(module, course)
        module.write_back(graph)
        x, y = zip(*((float(step), sparsity) for step, sparsity in history), strict=True)
        return (Curve(name="sparsity", x_label="step", y_label="sparsity", x=x, y=y), *learned.curves())

    def _changes(self, before: Graph, after: Graph) -> tuple[LayerChange, ...]:
        excluded = excluded_weights(before, self.config.exclude)
        return tuple(
            self._change(layer, before, after, kept=layer.weight in excluded) for layer in self._layers(before)
        )

    @staticmethod
    def _change(layer: Layer, before: Graph, after: Graph, *, kept: bool) -> LayerChange:
        old, new = (_share_of_zeros(graph, (layer.weight,)) for graph in (before, after))
        return LayerChange(
            name=layer.name,
            op=layer.op,
            change="left alone" if kept else "pruned",
            before=f"{old[0] / old[1]:.1%} zeros",
            after=f"{new[0] / new[1]:.1%} zeros",
            kept_because="it is excluded" if kept else None,
        )

    def ensures(self, before: Graph, after: Graph) -> None:
        same_interface(before, after)
        names = self._weights(before)
        groups = [names] if self.config.scope is Scope.GLOBAL else [(name,) for name in names]
        for group in groups:
            zeros, total = _share_of_zeros(after, group)
            if zeros < round(self.config.sparsity * total):
                raise BrokenResult(f"Only {zeros} of {total} weights are zero, fewer than asked for.")
