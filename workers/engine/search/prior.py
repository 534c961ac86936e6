"""What to try first, by what did well on the tenant's earlier models that are like this one."""

import math
from collections import defaultdict
from collections.abc import Iterable

from whetstone.contract.jobs import Objective
from whetstone.contract.learning import Finetune
from whetstone.contract.passes import Pass
from whetstone.contract.trials import Remembered
from workers.engine.search.board import Recipe

TOO_LOSSY = -1.0
"""What a recipe counts that lost too much; the others count the logarithm of their gain."""

Key = tuple[str, ...]


class Prior:
    """Puts recipes in order; those of which nothing is known keep theirs, behind what did well and before what did not.

    Without a history nothing changes.
    """

    def __init__(self, history: tuple[Remembered, ...], objective: Objective, allowed: float) -> None:
        sums: dict[Key, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for one in history:
            counts = sums[key_of(one.recipe)]
            counts[0] += one.likeness * _worth(one, objective, allowed)
            counts[1] += one.likeness
        self._worth = {key: total / weight for key, (total, weight) in sums.items() if weight}

    def __call__(self, recipes: Iterable[Recipe]) -> list[Recipe]:
        return sorted(recipes, key=lambda recipe: -self._worth.get(key_of(recipe), 0.0))


def key_of(recipe: Recipe) -> Key:
    """A recipe without what belongs to one model alone: names become their number, and how long it learned does not
    count.
    """
    return tuple(_without_names(config) for config in recipe)


def _without_names(config: Pass) -> str:
    mine = {"exclude"} | ({"epochs"} if isinstance(config, Finetune) else set())
    return f"{config.model_dump_json(exclude=mine)} {len(getattr(config, 'exclude', ()))}"


def _worth(one: Remembered, objective: Objective, allowed: float) -> float:
    """Memory is not remembered; what makes a file small makes a process small."""
    if one.lost > allowed:
        return TOO_LOSSY
    fast = objective in {Objective.LATENCY, Objective.THROUGHPUT}
    return math.log(max(one.speedup if fast else one.size_ratio, 1e-3))
