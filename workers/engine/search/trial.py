"""Trying a graph on one target: build it there, look at it briefly, and again in full if it is still in the running."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from whetstone.contract.jobs import Budget, Objective
from whetstone.contract.metrics import Metric
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target
from whetstone.contract.trials import Score
from workers.engine.graph.graph import Graph
from workers.engine.measure.evaluation import evaluate
from workers.engine.measure.feed import Feed
from workers.engine.measure.quick import LEAST_ROUNDS, compare_briefly, quickest
from workers.engine.measure.reading import reading_of
from workers.engine.measure.side import Side
from workers.engine.measure.verdict import allowed_drop, loss_of
from workers.engine.targets.choose import delivered_name, runtime_for
from workers.engine.targets.runtime import Array, Arrays, Session
from workers.engine.targets.shape_ranges import ranges_of

REMEMBERED_BYTES = 64 * 2**20

LEAST_SAMPLES = 32


@dataclass(frozen=True)
class Depth:
    """How closely a candidate is looked at: on at most so many samples, timed in at most so many rounds; and so many
    seconds for either, but never on less than `LEAST_SAMPLES`.
    """

    samples: int
    rounds: int
    seconds: float


BRIEF = Depth(samples=128, rounds=7, seconds=1.0)
FULL = Depth(samples=2000, rounds=31, seconds=6.0)
HARDLY_TIMED = Depth(samples=2000, rounds=LEAST_ROUNDS, seconds=6.0)
"""Where it is the samples that count, and how quick it is decides nothing."""


@dataclass(frozen=True)
class Built:
    """A graph in one target's runtime: the delivered file and its size, what of it is loaded, and a session."""

    file: Path
    loaded: Path
    size: int
    session: Session


class Remembered:
    """The original in full precision: its outputs on the same batches in the same order are computed once, as far as
    memory goes.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._outputs: list[dict[str, Array]] = []
        self._bytes = 0
        self._place = itertools.count()

    def begin(self) -> None:
        """The batches come from the first one again."""
        self._place = itertools.count()

    def run(self, inputs: Arrays) -> dict[str, Array]:
        place = next(self._place)
        if place < len(self._outputs):
            return self._outputs[place]
        outputs = self._session.run(inputs)
        if place == len(self._outputs) and self._bytes < REMEMBERED_BYTES:
            self._outputs.append(outputs)
            self._bytes += sum(array.nbytes for array in outputs.values())
        return outputs

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        return self._session.bind(inputs)


class Bench:
    """One target with the original on it, against which candidates are tried."""

    def __init__(
        self,
        target: Target,
        original: Graph,
        feed: Feed,
        budget: Budget,
        cores: tuple[int, ...],
        scratch: Path,
        metric: Metric | None = None,
    ) -> None:
        self.target = target
        self._budget, self._cores = budget, cores
        self._folder = scratch / target.replace("/", "-")
        self._reading = reading_of(original, metric)
        self._inputs = next(iter(feed.batches())).inputs
        self._shapes = ranges_of(feed)
        self._original = self._build(original, self._folder / "original", AS_USUAL)
        self._feeds = {depth: self._part_of(feed, depth) for depth in (BRIEF, FULL, HARDLY_TIMED)}
        exact = runtime_for(target.in_full).load(self._original.loaded, len(cores))
        self._outputs = {depth: Remembered(exact) for depth in self._feeds}
        self._memory = self._peak(self._original, AS_USUAL) if budget.objective is Objective.MEMORY else None

    def _build(self, graph: Graph, folder: Path, settings: RuntimeSettings) -> Built:
        folder.mkdir(parents=True)
        runtime = runtime_for(self.target, settings)
        graph.save(folder / "graph.onnx")
        artifact = folder / delivered_name(self.target)
        runtime.convert(folder / "graph.onnx", artifact, self._shapes)
        loaded = runtime.unpack(artifact, folder)
        return Built(artifact, loaded, artifact.stat().st_size, runtime.load(loaded, len(self._cores)))

    def _part_of(self, feed: Feed, depth: Depth) -> Feed:
        """As many samples as the original can do in the time."""
        in_time = int(feed.batch_size * depth.seconds / quickest(self._original.session.bind(self._inputs)))
        depth = FULL if self._reading.metric is Metric.AUC else depth  # of rare clicks a few samples may hold none
        return replace(feed, at_most=max(LEAST_SAMPLES, min(depth.samples, in_time)))

    def score(self, graph: Graph, settings: RuntimeSettings, hopeful: Callable[[Score], bool]) -> Score:
        """A brief look, and a full one at what is `hopeful` after it. Raises EngineError where the target cannot build
        or run the graph.
        """
        with self._candidate(graph, settings) as (built, memory):
            score, at_least = self._look(built, settings, memory, BRIEF)
            if at_least > score.allowed or not hopeful(score):
                return score
            return self._look(built, settings, memory, FULL)[0]

    def score_at(self, graph: Graph, depth: Depth) -> Score:
        """One look, as deep for all that are compared with each other. Raises as `score` does."""
        with self._candidate(graph, AS_USUAL) as (built, memory):
            return self._look(built, AS_USUAL, memory, depth)[0]

    @contextmanager
    def _candidate(self, graph: Graph, settings: RuntimeSettings) -> Iterator[tuple[Built, float | None]]:
        """The graph in the target's runtime, and how many times less memory it takes, where that counts."""
        folder = self._folder / "candidate"
        try:
            built = self._build(graph, folder, settings)
            yield built, self._memory / self._peak(built, settings) if self._memory else None
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # dozens of candidates would fill the disk

    def _look(self, built: Built, settings: RuntimeSettings, memory: float | None, depth: Depth) -> tuple[Score, float]:
        """The score, and the least that is lost with confidence."""
        feed, original = self._feeds[depth], self._outputs[depth]
        original.begin()
        accuracy, fidelity = evaluate(original, built.session, feed, self._reading, lambda _done: None)
        drop = loss_of(accuracy, fidelity).drop
        calls = self._original.session.bind(self._inputs), built.session.bind(self._inputs)
        times = compare_briefly(*calls, depth.rounds, depth.seconds)
        score = Score(
            lost=drop.value,
            at_most=drop.high,
            allowed=allowed_drop(self._budget, accuracy),
            speedup=times.ratio * (settings.streams or 1),
            size_ratio=self._original.size / built.size,
            memory_ratio=memory,
            latency_ms=1000 * times.after,
            size=built.size,
            full=depth is not BRIEF,
        )
        return score, drop.low

    def _peak(self, built: Built, settings: RuntimeSettings) -> int:
        """What a process of its own takes that holds this runtime and model alone, in bytes."""
        folder = self._folder / "process"
        try:
            with Side(self.target, built.file, self._inputs, self._cores, folder, settings) as side:
                side.load()
                return side.peak_memory()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
