"""Choosing the units that go: so many of a layer, or of the model, or until a goal is reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from whetstone.contract.failures import FailureCode
from whetstone.contract.pruning import Prune, Scope
from workers.engine.errors import EngineError
from workers.engine.graph.channels.groups import Group
from workers.engine.passes.prune_scores import Scores

ROUNDS = 10
Units = frozenset[int]


class OutOfReach(EngineError):
    """The goal cannot be reached by pruning."""

    code = FailureCode.NOTHING_TO_DO
    hint = "Ask for a larger share, exclude less, or lower minimum and round_to."


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


def least_sparsity(pick: Callable[[float], Units], left: Callable[[Units], float], share: float) -> float:
    """The least sparsity at which at most `share` is left, by bisection. Raises OutOfReach.

    `left` measures what is left of the model's cost without some units.
    """
    known: dict[Units, float] = {}

    def reaches(sparsity: float) -> bool:
        units = pick(sparsity)
        if units not in known:
            known[units] = left(units)
        return known[units] <= share

    low, high = 0.0, 1.0
    if not reaches(high):
        rest = known[pick(high)]
        raise OutOfReach(f"With all that may be cut gone, {rest:.1%} are left; the goal is {share:.1%}.")
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high
