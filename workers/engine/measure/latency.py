"""Measure original and result on one target: interleaved, each in a fresh process of its own, several times over."""

import random
import shutil
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import Measurement
from whetstone.contract.reports import Conditions, Estimate, Latency, Measured, OperatorTime
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target
from workers.engine.errors import EngineError
from workers.engine.measure.protocol import Closed
from workers.engine.measure.rounds import Rounds, compare
from workers.engine.measure.sessions import SESSIONS, Sessions
from workers.engine.measure.side import Side
from workers.engine.measure.statistics import Floats, needed_samples, percentile, scaled
from workers.engine.targets.processor import OtherWork, busy_cores, usable_cores
from workers.engine.targets.runtime import Arrays

PERCENTS = (50, 90, 99)
CURVE_POINTS = 101
SLOWEST = 200
"""Operators that are listed one by one; all of them are counted."""

NOISY = 0.2
"""The share of the measured cores' time that something else may take: then threads wait for each other's cores."""

QUIET_TRIES = 6
QUIET_SECONDS = 0.5

Watch = Callable[[float, float], None]
"""Told the share of the work that is done, and the speed-up in the session that runs."""


class TooManyThreads(EngineError):
    """The measurement asks for more threads than this worker has cores."""

    code = FailureCode.NO_WORKER


@dataclass(frozen=True)
class Contest:
    """The two delivered files of one target, and one batch for both. The settings are the result's: the original has
    the target's own, unless it is told others.
    """

    target: Target
    original: Path
    result: Path
    inputs: Arrays
    settings: RuntimeSettings = AS_USUAL
    original_settings: RuntimeSettings = AS_USUAL

    @property
    def calls(self) -> float:
        """How many calls the result makes in the time of one of the original's: what a speed-up in samples a second is
        multiplied by.
        """
        return (self.settings.streams or 1) / (self.original_settings.streams or 1)


@dataclass(frozen=True)
class Timing:
    original: Measured
    result: Measured
    speedup: Estimate
    conditions: Conditions


def measure(contest: Contest, how: Measurement, scratch: Path, watch: Watch, seed: int = 0) -> Timing:
    """Load, warm up, time and profile both files, in `SESSIONS` pairs of processes one after the other.

    Raises: TooManyThreads, RuntimeCrashed, RunnerRefused.
    """
    cores = cores_for(how.threads)
    load_before, others = _quietest(cores), OtherWork(cores)
    bench = Bench(contest, cores, how.max_seconds, scratch, watch, random.Random(seed))  # noqa: S311  # no secret
    bench.run()
    sessions = Sessions(tuple(bench.rounds))
    return Timing(
        original=_measured(contest.original, [load for load, _ in bench.loads], bench.ends[0], sessions.original),
        result=_measured(contest.result, [load for _, load in bench.loads], bench.ends[1], sessions.result),
        speedup=scaled(sessions.speedup, contest.calls),
        conditions=_conditions(how, cores, sessions, load_before, others.share()),
    )


@dataclass
class Bench:
    """Gathers what the sessions say: the first load of each process, the rounds, and both sides' last words."""

    contest: Contest
    cores: tuple[int, ...]
    seconds: float
    scratch: Path
    watch: Watch
    order: random.Random
    loads: list[tuple[float, float]] = field(default_factory=list)
    rounds: list[Rounds] = field(default_factory=list)
    ends: tuple[Closed, ...] = ()

    def run(self) -> None:
        for number in range(SESSIONS):
            self._session(self.scratch / str(number), last=number == SESSIONS - 1)
            if self.ends:
                break

    @property
    def _spent(self) -> float:
        return sum(rounds.seconds for rounds in self.rounds)

    def _session(self, folder: Path, *, last: bool) -> None:
        contest = self.contest
        with (
            Side(
                contest.target,
                contest.original,
                contest.inputs,
                self.cores,
                folder / "original",
                contest.original_settings,
            ) as original,
            Side(
                contest.target, contest.result, contest.inputs, self.cores, folder / "result", contest.settings
            ) as result,
        ):
            self.loads.append((original.load(), result.load()))
            self.rounds.append(
                compare(original, result, seconds=self.seconds / SESSIONS, order=self.order, watch=self._seen)
            )
            if last or self._spent > self.seconds:
                self.ends = original.close(), result.close()
        shutil.rmtree(folder)

    def _seen(self, rounds: Rounds) -> None:
        share = (len(self.rounds) + min(1.0, rounds.seconds * SESSIONS / self.seconds)) / SESSIONS
        self.watch(share, self.contest.calls * rounds.speedup.value)


def cores_for(threads: int | None) -> tuple[int, ...]:
    """The logical processors to measure on, one thread on each; all there are when not told.

    Raises: TooManyThreads.
    """
    cores = usable_cores()
    if threads is not None and threads > len(cores):
        raise TooManyThreads(
            f"measurement.threads is {threads}, but this worker has {len(cores)} cores.",
            hint=f"Ask for at most {len(cores)} threads, or leave threads out to use all cores.",
        )
    return cores[:threads]


def _quietest(cores: tuple[int, ...]) -> float:
    """Busy cores before the measurement; gives what ran just before a few seconds to come to rest."""
    busy = busy_cores(cores, QUIET_SECONDS)
    for _ in range(QUIET_TRIES):
        if busy <= NOISY * len(cores):
            break
        busy = busy_cores(cores, QUIET_SECONDS)
    return busy


def _measured(artifact: Path, loads: list[float], end: Closed, samples: Floats) -> Measured:
    return Measured(
        size=artifact.stat().st_size,
        cold_load_ms=statistics.median(loads),
        warm_load_ms=end.warm_load_ms,
        peak_memory=end.peak_memory,
        latency=latency_of(samples),
        units=Counter(operator.unit for operator in end.operators),
        precisions=Counter(operator.precision for operator in end.operators),
        operators=_slowest(end.operators),
    )


def latency_of(samples: Floats) -> Latency:
    """Of the times of single calls, in milliseconds, shape [N]."""
    claimed = {percent: percentile(samples, percent) for percent in PERCENTS}
    return Latency(
        samples=len(samples),
        mean_ms=float(samples.mean()),
        min_ms=float(samples.min()),
        percentiles=tuple(found for found in claimed.values() if found),
        unclaimed={f"p{percent}": needed_samples(percent) for percent, found in claimed.items() if not found},
        curve=tuple(np.quantile(samples, np.linspace(0, 1, CURVE_POINTS)).tolist()),
    )


def _slowest(operators: tuple[OperatorTime, ...]) -> tuple[OperatorTime, ...]:
    """The slowest ones, in the order they ran."""
    slow = sorted(range(len(operators)), key=lambda index: operators[index].ms, reverse=True)[:SLOWEST]
    return tuple(operators[index] for index in sorted(slow))


def _conditions(
    how: Measurement, cores: tuple[int, ...], sessions: Sessions, load_before: float, others: float
) -> Conditions:
    reasons = sessions.doubts()
    if load_before > NOISY * len(cores):
        reasons += (f"noisy: other work kept {load_before:.1f} of {len(cores)} cores busy just before",)
    if others > NOISY:
        reasons += (f"noisy: other work took {others:.0%} of the cores' time meanwhile",)
    return Conditions(
        batch_size=how.batch_size,
        threads=len(cores),
        rounds=sessions.rounds,
        warmup_runs=sessions.warmup_runs,
        seconds=sessions.seconds,
        load_before=load_before,
        valid=not reasons,
        invalid_because=reasons,
    )
