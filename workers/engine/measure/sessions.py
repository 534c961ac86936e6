"""What several pairs of fresh processes say together.

One process is faster or slower than the next by some percent for as long as it lives: where its memory came to lie
decides it. More rounds in the same process do not average that out, so the pair of processes is what is repeated.
"""

import statistics
from dataclasses import dataclass
from itertools import chain

import numpy as np

from whetstone.contract.reports import Estimate
from workers.engine.measure.rounds import Rounds
from workers.engine.measure.statistics import Floats, median_interval

SESSIONS = 6
"""Below this no distribution-free interval of a median reaches 95 %."""

SPREAD = 0.25
"""How far apart the medians of sessions may lie, but for the lowest and the highest, before a side is unstable."""


@dataclass(frozen=True)
class Sessions:
    """All rounds of all pairs of processes."""

    each: tuple[Rounds, ...]

    @property
    def speedup(self) -> Estimate:
        """Original over result: the median over the sessions, with its distribution-free interval."""
        return median_interval([rounds.speedup.value for rounds in self.each])

    @property
    def original(self) -> Floats:
        """Every sample of the original, in milliseconds, shape [N]."""
        return _flat([rounds.original for rounds in self.each])

    @property
    def result(self) -> Floats:
        """Every sample of the result, in milliseconds, shape [N]."""
        return _flat([rounds.result for rounds in self.each])

    @property
    def rounds(self) -> int:
        return sum(map(len, self.each))

    @property
    def warmup_runs(self) -> int:
        return sum(rounds.warmup_runs for rounds in self.each)

    @property
    def seconds(self) -> float:
        return sum(rounds.seconds for rounds in self.each)

    def doubts(self) -> tuple[str, ...]:
        """Why this should not be relied on; nothing when it can be."""
        if len(self.each) < SESSIONS:
            return (f"too few rounds: {len(self.each)} of {SESSIONS} sessions fitted into max_seconds",)
        found = []
        unsettled = sum(not rounds.settled for rounds in self.each)
        if unsettled > SESSIONS / 2:
            found.append(f"unstable: the warm-up did not settle in {unsettled} of {SESSIONS} sessions")
        sides = {"original": [r.original for r in self.each], "result": [r.result for r in self.each]}
        spreads = {side: _spread(bursts) for side, bursts in sides.items()}
        found += [f"unstable: the {side} varied by {spread:.0%}" for side, spread in spreads.items() if spread > SPREAD]
        return tuple(found)


def _flat(sessions: list[list[list[float]]]) -> Floats:
    return np.fromiter(chain.from_iterable(chain.from_iterable(sessions)), dtype=np.float64)


def _spread(sessions: list[list[list[float]]]) -> float:
    medians = sorted(statistics.median(chain.from_iterable(bursts)) for bursts in sessions)
    return (medians[-2] - medians[1]) / statistics.median(medians)
