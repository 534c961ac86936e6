"""All delivered files of one model timed in one run: a fresh process each, fed in turns in random order.

The same processes and the same rules as in a job's measurement (`workers.engine.measure`), but with more than two sides
that may have different runtimes. Every side is compared with the original in onnxruntime, round by round.
"""

import hashlib
import random
import shutil
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from whetstone.contract.reports import Estimate
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target
from workers.engine.measure.latency import NOISY, QUIET_SECONDS, cores_for
from workers.engine.measure.rounds import REST_SECONDS, burst_length
from workers.engine.measure.side import Side
from workers.engine.measure.statistics import median_interval
from workers.engine.targets.processor import OtherWork, busy_cores
from workers.engine.targets.runtime import Arrays

ROUNDS = 12
WARM_BURSTS = 3
FREELY = 60.0
"""Seconds: so many that a burst has the length it should have."""

Bursts = dict[str, list[float]]
"""By side: the median of each round's burst, in milliseconds."""


@dataclass(frozen=True)
class Entrant:
    target: Target
    artifact: Path
    settings: RuntimeSettings = AS_USUAL


@dataclass(frozen=True)
class Result:
    """`latency_ms` is the median of the side that the speed-ups are against. `disturbed`: why not to believe them."""

    speedups: dict[str, Estimate]
    latency_ms: float
    disturbed: tuple[str, ...]


def race(entrants: Mapping[str, Entrant], against: str, inputs: Arrays, sessions: int, scratch: Path) -> Result:
    """Files that are equal byte for byte are timed once: two processes of one file differ by chance alone.

    Raises RuntimeCrashed or RunnerRefused where a side cannot run.
    """
    cores, twins = cores_for(None), _twins(entrants)
    alone = {name: entrants[name] for name in twins.values()}
    busy, others, order = busy_cores(cores, QUIET_SECONDS), OtherWork(cores), random.Random(0)  # noqa: S311  # no secret
    seen = [_session(alone, inputs, cores, order, scratch / str(number)) for number in range(sessions)]
    disturbed = []
    if busy > NOISY * len(cores):
        disturbed.append(f"other work kept {busy:.1f} of {len(cores)} cores busy just before")
    if (share := others.share()) > NOISY:
        disturbed.append(f"other work took {share:.0%} of the cores' time meanwhile")
    return Result(
        speedups={
            name: median_interval([_ratio(bursts, twins[against], twin) for bursts in seen])
            for name, twin in twins.items()
        },
        latency_ms=statistics.median(chain.from_iterable(bursts[twins[against]] for bursts in seen)),
        disturbed=tuple(disturbed),
    )


def _twins(entrants: Mapping[str, Entrant]) -> dict[str, str]:
    """By name: the first entrant with the same bytes for the same target, and the same settings; often itself."""
    first: dict[tuple[Target, RuntimeSettings, str], str] = {}
    return {
        name: first.setdefault((entrant.target, entrant.settings, _digest(entrant.artifact)), name)
        for name, entrant in entrants.items()
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ratio(bursts: Bursts, against: str, name: str) -> float:
    """The median over the rounds: both sides of a round saw the same machine."""
    return statistics.median(one / other for one, other in zip(bursts[against], bursts[name], strict=True))


def _side(entrant: Entrant, inputs: Arrays, cores: tuple[int, ...], scratch: Path) -> Side:
    return Side(entrant.target, entrant.artifact, inputs, cores, scratch, entrant.settings)


def _session(
    entrants: Mapping[str, Entrant], inputs: Arrays, cores: tuple[int, ...], order: random.Random, scratch: Path
) -> Bursts:
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(_side(entrant, inputs, cores, scratch / str(number)))
            for number, (name, entrant) in enumerate(entrants.items())
        }
        for side in sides.values():
            side.load()
        runs = {name: _warm_up(side) for name, side in sides.items()}
        bursts: Bursts = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name in order.sample(list(sides), len(sides)):
                time.sleep(REST_SECONDS)
                bursts[name].append(statistics.median(sides[name].burst(runs[name], settle=int(runs[name] > 1))))
    shutil.rmtree(scratch)
    return bursts


def _warm_up(side: Side) -> int:
    """Calls that a burst of this side should have."""
    runs = burst_length(statistics.median(side.burst(1)), FREELY)
    times = [statistics.median(side.burst(runs)) for _ in range(WARM_BURSTS)]
    return burst_length(times[-1], FREELY)
