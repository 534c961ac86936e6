"""Choosing the units that go: so many of a layer, or of the model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whetstone.contract.pruning import Prune, Scope
from workers.engine.graph.channels.groups import Group
from workers.engine.passes.pruning.scores import Scores

Units = frozenset[int]


@dataclass(frozen=True)
class Candidates:
    """The groups that may be cut, with the scores of their units; of each set in `floors` one unit must stay."""

    groups: tuple[Group, ...]
    scores: Sequence[Scores]
    floors: tuple[Units, ...]


def _allowed(wanted: int, total: int, config: Prune) -> int:
    """How many of a group may go, so that at least `minimum` stay, in multiples of `round_to`."""
    kept = max(total - wanted, min(config.minimum, total))
    return total - min(total, -(-kept // config.round_to) * config.round_to)


def _counts(found: Candidates, sparsity: float, config: Prune) -> list[int]:
    if config.scope is Scope.LAYER:
        return [round(sparsity * len(group.units)) for group in found.groups]
    everything = np.concatenate(found.scores)
    order = np.argsort(everything, kind="stable")[: round(sparsity * len(everything))]
    owner = np.repeat(np.arange(len(found.groups)), [len(group.units) for group in found.groups])
    return np.bincount(owner[order], minlength=len(found.groups)).tolist()  # type: ignore[no-any-return]


def choose(found: Candidates, sparsity: float, config: Prune) -> Units:
    """The units that go: those of the lowest scores, never all along an axis."""
    gone: set[int] = set()
    best: dict[int, float] = {}
    for group, scores, wanted in zip(found.groups, found.scores, _counts(found, sparsity, config), strict=True):
        order = np.argsort(scores, kind="stable")[: _allowed(wanted, len(group.units), config)]
        gone.update(group.units[place] for place in order.tolist())
        best |= dict(zip(group.units, scores.tolist(), strict=True))
    for floor in found.floors:
        if floor and floor <= gone:
            gone.remove(max(floor, key=lambda unit: best.get(unit, 0.0)))
    return frozenset(gone)
