"""Original and result under loads, by turns, each in fresh pinned processes: MLPerf's scenarios, for a short time.

MLPerf's own rules (Reddi et al. 2020) ask for ten minutes and more. Here a percentile needs enough samples to be
claimed all the same, and a load that cannot be judged is not valid.
"""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, assert_never

import numpy as np

from whetstone.contract.jobs import Measurement
from whetstone.contract.reports import LoadPoint, ScenarioReport, UnderLoad
from whetstone.contract.scenarios import MultiStream, Offline, Scenario, Server, SingleStream
from whetstone.contract.targets import RuntimeSettings
from workers.engine.measure.latency import Contest, TooManyThreads, cores_for, latency_of
from workers.engine.measure.side import RunnerRefused, RuntimeCrashed, Side
from workers.engine.measure.statistics import Floats, is_within, median_interval, needed_samples
from workers.engine.targets.processor import OtherWork, usable_cores
from workers.engine.targets.runtime import Arrays

WINDOWS = 6
"""Of each side at each setting: fewer have no interval of 95 %."""

SERVED = 2
"""Windows of a server on each side: longer ones, since each begins with an empty queue."""

WARM_UP = 0.5
"""Of a window, before the first."""

GROWTH = 1.05
"""Less than this for twice the batch ends a sweep (as NVIDIA's model_navigator has it)."""

OVERTIME = 0.2
"""Of the time, since the last call of a window ends after it."""

MOST_ARRIVALS = 50_000


@dataclass(frozen=True)
class Bounds:
    """What a scenario may use: seconds of timing, for both sides together, and cores."""

    seconds: float
    cores: tuple[int, ...]


class Crew:
    """A context: processes of one side that work at once, each pinned to its own share of the cores."""

    def __init__(
        self, contest: Contest, file: Path, settings: RuntimeSettings, shares: list[tuple[int, ...]], folder: Path
    ) -> None:
        self._pool = ThreadPoolExecutor(len(shares))
        self._sides = [
            Side(contest.target, file, contest.inputs, cores, folder / str(number), settings)
            for number, cores in enumerate(shares)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with ExitStack() as stack:
            for side in self._sides:
                stack.enter_context(side)
        self._pool.shutdown()

    def load(self) -> None:
        """Raises RuntimeCrashed, RunnerRefused."""
        list(self._pool.map(Side.load, self._sides))

    def stream(self, seconds: float) -> list[list[float]]:
        """Times of calls in milliseconds, a list for each process; they begin together."""
        return list(self._pool.map(lambda side: side.stream(seconds), self._sides))

    def serve(self, arrivals: Floats, patience: float) -> list[float]:
        """By the first process alone: see `Side.serve`."""
        return self._sides[0].serve(arrivals, patience)


@dataclass
class Tally:
    """The times of one side, and its samples a second in each window."""

    times: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def add(self, found: list[list[float]], batch: int, window: float) -> None:
        """The times of each process; the last of its calls may have ended after the window."""
        self.times += [each for times in found for each in times]
        self.rates.append(sum(batch * len(times) / max(window, sum(times) / 1000) for times in found))

    def told(self) -> UnderLoad:
        return UnderLoad(throughput=float(np.median(self.rates)), latency=latency_of(np.array(self.times)))


def check_scenarios(how: Measurement) -> None:
    """Raises TooManyThreads, before any work is done."""
    there = len(usable_cores())
    for scenario in how.scenarios:
        if isinstance(scenario, SingleStream) and (most := max(scenario.threads)) > there:
            raise TooManyThreads(
                f"A single_stream scenario asks for {most} threads, but this worker has {there} cores.",
                hint=f"Ask for at most {there} threads.",
            )


def comparing_part(how: Measurement) -> Measurement:
    """What is left for the comparison: half of the time where there are scenarios."""
    return how.model_copy(update={"max_seconds": how.max_seconds / 2}) if how.scenarios else how


def measure_scenarios(
    contest: Contest, how: Measurement, scratch: Path, watch: Callable[[float], None]
) -> Iterator[ScenarioReport]:
    """Each with its share of the half of `max_seconds` that is theirs; `watch` is told the share that is done.

    Streams of the contest's settings are left out: how many run at once is what a scenario says.

    Raises: TooManyThreads.
    """
    cores = cores_for(how.threads)
    alone = replace(contest, settings=contest.settings.model_copy(update={"streams": None}))
    for number, scenario in enumerate(how.scenarios):
        bounds = Bounds(how.max_seconds / 2 / len(how.scenarios), cores)
        yield _Scenario(alone, bounds, how.batch_size, scratch / f"scenario{number}").report(scenario)
        watch((number + 1) / len(how.scenarios))


class _Scenario:
    def __init__(self, contest: Contest, bounds: Bounds, batch: int, scratch: Path) -> None:
        self._contest, self._bounds, self._batch, self._scratch = contest, bounds, batch, scratch
        self._order = random.Random(0)  # noqa: S311 - no secret
        self._spent = 0.0

    def report(self, scenario: Scenario) -> ScenarioReport:
        """What came of it; a runtime that gives up under a load ends its scenario, not the step."""
        others = OtherWork(self._bounds.cores)
        points: list[LoadPoint] = []
        try:
            ended = self._gather(scenario, points)
        except (RunnerRefused, RuntimeCrashed) as error:
            ended = str(error)
        return ScenarioReport(
            scenario=scenario,
            points=tuple(points),
            seconds=self._spent,
            budget=self._bounds.seconds,
            ended=ended[:500],
            disturbed=min(1.0, others.share()),
        )

    def _gather(self, scenario: Scenario, points: list[LoadPoint]) -> str:
        """Add point after point, and say why there are no more."""
        for measured in self._settings(scenario):
            if points and (why := self._enough(scenario, points)):
                return why
            points.append(measured())
        return "all settings were measured"

    def _settings(self, scenario: Scenario) -> list[Callable[[], LoadPoint]]:
        cores = self._bounds.cores
        match scenario:
            case SingleStream():
                share = len(scenario.threads)
                return [partial(self._streamed, n, [cores_for(n)], self._batch, share) for n in scenario.threads]
            case MultiStream():
                count = scenario.processes
                return [partial(self._streamed, count, shares_of(cores, count), self._batch, 1)]
            case Server():
                return [partial(self._served, scenario)]
            case Offline():
                sizes = [2**power for power in range(scenario.max_batch.bit_length())]
                return [partial(self._streamed, size, [cores], size, len(sizes)) for size in sizes]
            case _:
                assert_never(scenario)

    def _enough(self, scenario: Scenario, points: list[LoadPoint]) -> str | None:
        """Why it ends here: no time is left, or in a sweep twice the batch takes too long or gives no side more."""
        left = self._bounds.seconds - self._spent
        if left < -OVERTIME * self._bounds.seconds:
            return "the time was over"
        if not isinstance(scenario, Offline):
            return None
        slowest = max(points[-1].original.latency.mean_ms, points[-1].result.latency.mean_ms) / 1000
        if 2 * slowest * 2 * (WINDOWS + 1) > max(left, 0):
            return "twice the batch would not have fitted into the time"
        if len(points) == 1:
            return None
        pairs = [(getattr(one, side).throughput for one in points[-2:]) for side in ("original", "result")]
        grew = max(now / before for before, now in pairs)
        return f"twice the batch gave less than {GROWTH - 1:.0%} more on either side" if grew < GROWTH else None

    def _crews(self, name: str, shares: list[tuple[int, ...]], inputs: Arrays) -> tuple[Crew, Crew]:
        contest = replace(self._contest, inputs=inputs)
        folder = self._scratch / name
        return (
            Crew(contest, contest.original, RuntimeSettings(), shares, folder / "original"),
            Crew(contest, contest.result, contest.settings, shares, folder / "result"),
        )

    def _streamed(self, setting: float, shares: list[tuple[int, ...]], batch: int, settings: int) -> LoadPoint:
        """Both sides in windows by turns, in random order; one of so many settings that share the time."""
        window = self._bounds.seconds / settings / (2 * (WINDOWS + WARM_UP))
        original, result = self._crews(f"{setting:g}", shares, repeated(self._contest.inputs, batch))
        tallies = Tally(), Tally()
        with original, result:
            turns = list(zip((original, result), tallies, strict=True))
            for crew, _ in turns:
                crew.load()
                crew.stream(WARM_UP * window)
            for _ in range(WINDOWS):
                self._order.shuffle(turns)
                for crew, tally in turns:
                    started = time.monotonic()
                    tally.add(crew.stream(window), batch, window)
                    self._spent += time.monotonic() - started
        ratios = [after / before for before, after in zip(*(tally.rates for tally in tallies), strict=True)]
        before, after = (tally.told() for tally in tallies)
        return LoadPoint(setting=setting, original=before, result=after, ratio=median_interval(ratios))

    def _served(self, scenario: Server) -> LoadPoint:
        """Both sides meet the same arrivals, in the order original, result, result, original."""
        window = self._bounds.seconds / (2 * SERVED)
        schedules = [arrivals_of(scenario.rate, window, seed) for seed in range(SERVED)]
        crews = self._crews("server", [self._bounds.cores], self._contest.inputs)
        patience = min(window, scenario.latency_ms / 1000)
        found: tuple[list[float], list[float]] = [], []
        spent = [0.0, 0.0]
        with crews[0], crews[1]:
            for crew in crews:
                crew.load()
                crew.stream(WARM_UP * min(1.0, window))
            for number, arrivals in enumerate(schedules):
                for place in (0, 1) if number % 2 == 0 else (1, 0):
                    started = time.monotonic()
                    found[place].extend(crews[place].serve(arrivals, float(arrivals[-1]) + patience))
                    spent[place] += time.monotonic() - started
        self._spent += sum(spent)
        asked = sum(map(len, schedules))
        before, after = (
            judged(scenario, np.array(times), asked, self._batch / seconds)
            for times, seconds in zip(found, spent, strict=True)
        )
        return LoadPoint(setting=scenario.rate, original=before, result=after)


def judged(scenario: Server, times: Floats, asked: int, rate: float) -> UnderLoad:
    """Whether the calls were done in time, those that were given up counted as late; `rate` is samples a second of one
    call. The first call is always begun, so there are times.
    """
    late = int((times > scenario.latency_ms).sum()) + asked - len(times)
    why = None
    if not is_within(late, asked, scenario.percent):
        why = f"{late} of {asked} calls took more than {scenario.latency_ms:g} ms"
        if late / asked < 1 - scenario.percent / 100:
            enough = needed_samples(scenario.percent, late)
            why = f"too few calls: {why}, and it takes {enough} to claim p{scenario.percent:g} all the same"
    return UnderLoad(
        throughput=rate * len(times),
        latency=latency_of(times),
        valid=why is None,
        invalid_because=why,
        unfinished=asked - len(times),
    )


def arrivals_of(rate: float, seconds: float, seed: int) -> Floats:
    """Times of a Poisson process within so many seconds, at least one and at most `MOST_ARRIVALS`: gaps are exponential
    with mean 1/rate.
    """
    count = min(MOST_ARRIVALS, 2 * round(rate * seconds) + 20)
    times = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))
    within = times[times < seconds]
    return within if len(within) else np.zeros(1)


def shares_of(cores: tuple[int, ...], processes: int) -> list[tuple[int, ...]]:
    """Every process its own cores; where there are fewer cores than processes, several share one."""
    return [cores[number::processes] or (cores[number % len(cores)],) for number in range(processes)]


def repeated(inputs: Arrays, batch: int) -> Arrays:
    """The samples again and again, until there are so many."""
    return {name: np.resize(array, (batch, *array.shape[1:])) for name, array in inputs.items()}
