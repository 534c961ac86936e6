"""A quick comparison of two calls in one process: good enough to choose by, never to report."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Call = Callable[[], object]

BURST_SECONDS = 0.02
PAUSE_SECONDS = 0.002
LEAST_ROUNDS = 3
UNDISTURBED = 0.1
"""The quantile of the calls that is compared."""


@dataclass(frozen=True)
class Times:
    """Seconds that an undisturbed call of each takes."""

    before: float
    after: float

    @property
    def ratio(self) -> float:
        """How many times as fast the second is."""
        return self.before / self.after


def compare_briefly(before: Call, after: Call, rounds: int, seconds: float) -> Times:
    """Both calls in bursts by turns: at least `LEAST_ROUNDS`, at most `rounds`, for about so many seconds.

    A quick call is seldom interrupted, so the quicker ones say what it takes, even on a machine with other work.
    """
    calls = before, after
    runs = [max(1, int(BURST_SECONDS / quickest(call))) for call in calls]
    times: tuple[list[float], list[float]] = ([], [])
    end, done = time.monotonic() + seconds, 0
    while done < LEAST_ROUNDS or (done < rounds and time.monotonic() < end):
        for call, count, found in zip(calls, runs, times, strict=True):
            found.extend(_burst(call, count))
        done += 1
    return Times(*(float(np.quantile(found, UNDISTURBED)) for found in times))


def quickest(call: Call) -> float:
    """Seconds of the quickest of a few calls."""
    return max(1e-6, min(_burst(call, 3)))


def _burst(call: Call, count: int) -> list[float]:
    """Seconds of each call. Threads of what ran before spin for a while, and would slow the first."""
    time.sleep(PAUSE_SECONDS)
    marks = [time.perf_counter()]
    for _ in range(count):
        call()
        marks.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(marks)]
