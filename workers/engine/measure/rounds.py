"""Two sides timed against each other in one pair of processes: warm-up, then interleaved rounds in random order."""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from whetstone.contract.reports import Estimate
from workers.engine.measure.statistics import median_interval

WARMUP_WINDOWS = 3
WARMUP_SPREAD = 0.10
"""Warm when this many bursts in a row lie within this of their mean (as NVIDIA's model_navigator has it)."""

WARMUP_SHARE = 0.2
"""The most of the time that warming up may take."""

WINDOW_SECONDS = 0.02
BURST_SECONDS = 0.05
LONGEST_BURST = 1000
QUICKEST_MS = 1e-3

GOOD_ROUNDS = 10
GOOD_SAMPLES = 120
NARROW = 0.01
"""Stop early after so many rounds and samples, when the interval of the ratio is this narrow to either side."""

REST_SECONDS = 0.005
"""Between bursts: the thread pool of one side spins on for a while, and would slow the other."""


class Burster(Protocol):
    """What can be timed: `Side`, or a stand-in of a test."""

    def burst(self, runs: int, settle: int = 0) -> list[float]:
        """Times of single calls, in milliseconds."""


@dataclass
class Rounds:
    """What was timed, in milliseconds; entry r of either list is the burst of round r.

    `warmup_runs` counts the calls of both sides before, `seconds` is all it took.
    """

    warmup_runs: int = 0
    settled: bool = False
    original: list[list[float]] = field(default_factory=list)
    result: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.original)

    @property
    def speedup(self) -> Estimate:
        """Original over result: the median of the ratios of each round's medians.

        Both sides of a round saw the same machine, so what slows it down for a while cancels out.
        """
        pairs = zip(self.original, self.result, strict=True)
        return median_interval([statistics.median(original) / statistics.median(result) for original, result in pairs])

    @property
    def decided(self) -> bool:
        """Whether more rounds of this pair of processes would tell nothing new."""
        if len(self) < GOOD_ROUNDS or sum(map(len, self.original)) < GOOD_SAMPLES:
            return False
        speedup = self.speedup
        return max(speedup.high - speedup.value, speedup.value - speedup.low) <= NARROW * speedup.value


def compare(
    original: Burster, result: Burster, *, seconds: float, order: random.Random, watch: Callable[[Rounds], None]
) -> Rounds:
    """Warm up, then bursts of both sides in random order, until decided or the time is over.

    At least one round; `watch` sees every one.
    """
    started = time.monotonic()
    rounds = Rounds()
    call_ms = _warm_up(original, result, seconds * WARMUP_SHARE, rounds)
    runs = burst_length(call_ms, seconds)
    while not rounds.original or (not rounds.decided and rounds.seconds < seconds):
        turns = [(original, rounds.original), (result, rounds.result)]
        order.shuffle(turns)
        for side, times in turns:
            time.sleep(REST_SECONDS)
            times.append(side.burst(runs, settle=int(runs > 1)))
        rounds.seconds = time.monotonic() - started
        watch(rounds)
    return rounds


def burst_length(call_ms: float, seconds: float) -> int:
    """Calls in one burst: some 50 ms of them, fewer where `GOOD_ROUNDS` rounds would not fit otherwise."""
    longest = min(BURST_SECONDS, seconds / (2 * GOOD_ROUNDS) - REST_SECONDS)
    return min(LONGEST_BURST, max(1, int(1000 * longest / max(call_ms, QUICKEST_MS))))


def _warm_up(original: Burster, result: Burster, seconds: float, rounds: Rounds) -> float:
    """Run both sides by turns until both are stable, or the time is over; the slower side's time of one call.

    Slow models get as many bursts as it takes to see that they are stable, whatever the time.
    """
    deadline = time.monotonic() + seconds
    first = max(statistics.median(side.burst(1)) for side in (original, result))
    runs = max(1, min(LONGEST_BURST, int(1000 * WINDOW_SECONDS / max(first, QUICKEST_MS))))
    seen: tuple[list[float], list[float]] = ([], [])
    while not rounds.settled and (len(seen[0]) < WARMUP_WINDOWS or time.monotonic() < deadline):
        for side, medians in zip((original, result), seen, strict=True):
            medians.append(statistics.median(side.burst(runs)))
        rounds.settled = all(_stable(medians[-WARMUP_WINDOWS:]) for medians in seen)
    rounds.warmup_runs = 2 + 2 * runs * len(seen[0])
    return max(min(medians, default=first) for medians in seen)


def _stable(medians: list[float]) -> bool:
    mean = statistics.fmean(medians)
    return len(medians) == WARMUP_WINDOWS and all(abs(median - mean) <= WARMUP_SPREAD * mean for median in medians)
