"""What cutting did to each layer, in words."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from whetstone.contract.insights import Importance
from whetstone.contract.pruning import Granularity
from whetstone.contract.reports import LayerChange
from workers.engine.graph.channels.groups import Group
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer, count_params, layers_of
from workers.engine.graph.macs import count_macs
from workers.engine.passes.pruning.scores import Scores

MOST_GROUPS = 40
MOST_SCORES = 64

NOT_CHOSEN = "none of its units were among the least important"


def _written(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def changes(before: Graph, after: Graph, protected: Mapping[str, str]) -> tuple[LayerChange, ...]:
    """One line for each layer, with the shapes of its first weight; what is protected says why."""
    new: dict[str, Layer] = {}
    for layer in layers_of(after):
        new.setdefault(layer.name, layer)
    old: dict[str, Layer] = {}
    for layer in layers_of(before):
        old.setdefault(layer.name, layer)
    return tuple(_change(layer, new[name], protected.get(name)) for name, layer in old.items() if name in new)


def _change(old: Layer, new: Layer, reason: str | None) -> LayerChange:
    same = sorted(old.shape) == sorted(new.shape)
    change = "left alone" if same else "takes less in" if reason else "cut"
    return LayerChange(
        name=old.name,
        op=old.op,
        change=change,
        before=_written(old.shape),
        after=_written(new.shape),
        kept_because=reason or (NOT_CHOSEN if same else None),
    )


def importance(groups: Sequence[Group], scores: Sequence[Scores], gone: Collection[int]) -> tuple[Importance, ...]:
    """The scores that the choice was made by; `scores` has an array for each group, shape [units]."""
    cut = list(gone)
    return tuple(
        Importance(
            name=group.name,
            units=len(group.units),
            cut=int((went := np.isin(group.units, cut)).sum()),
            kept_scores=_falling(each[~went]),
            cut_scores=_falling(each[went]),
        )
        for group, each in zip(groups[:MOST_GROUPS], scores, strict=False)
    )


def _falling(scores: Scores) -> tuple[float, ...]:
    """All of them, or evenly spaced quantiles of so many that fit; the report needs no more than four digits."""
    if len(scores) > MOST_SCORES:
        scores = np.quantile(scores, np.linspace(0, 1, MOST_SCORES))
    return tuple(float(f"{score:.4g}") for score in np.sort(scores)[::-1])


def summary(
    before: Graph,
    after: Graph,
    groups: tuple[Group, ...],
    gone: Collection[int],
    granularity: Granularity,
    shapes: dict[str, tuple[int, ...]],
) -> str:
    """How many units went, and what it did to the size of the model."""
    total = sum(len(group.units) for group in groups)
    macs = [count_macs(graph, shapes or None) for graph in (before, after)]
    params = [count_params(graph) for graph in (before, after)]
    cut = f"Cut {len(gone):,} of {total:,} {granularity}s in {len(groups)} groups"
    told = f"{cut}: {params[1] / params[0]:.1%} of the parameters"
    if macs[0] and macs[1]:
        told += f" and {macs[1] / macs[0]:.1%} of the multiply-accumulates"
    return f"{told} are left."
