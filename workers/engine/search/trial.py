"""Trying a recipe: run its passes, build it for each target, see what it loses there, and time it briefly."""

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whetstone.contract.passes import Pass
from whetstone.contract.reports import PassReport
from whetstone.contract.targets import Target
from whetstone.contract.trials import Score
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Graph
from workers.engine.measure.decision import thresholds_of
from workers.engine.measure.evaluation import evaluate
from workers.engine.measure.feed import Feed
from workers.engine.measure.verdict import loss_of
from workers.engine.outcome import pass_report
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.sequence import make
from workers.engine.targets.choose import delivered_name, runtime_for
from workers.engine.targets.runtime import Session

Recipe = tuple[Pass, ...]
BURST_SECONDS = 0.02
ROUNDS = 15
PAUSE_SECONDS = 0.002


@dataclass(frozen=True)
class Made:
    """A graph that a recipe made, and what each pass did."""

    graph: Graph
    passes: tuple[PassReport, ...]


class Kitchen:
    """Runs recipes; a graph whose recipe begins another's is kept, so that no pass runs twice."""

    def __init__(self, original: Graph, samples: Samples | None, scratch: Path, threads: int) -> None:
        self._samples, self._scratch, self._threads = samples, scratch, threads
        self._made: dict[Recipe, Made] = {(): Made(original, ())}

    def make(self, recipe: Recipe, say: Callable[[str], None]) -> Made:
        """Raises EngineError where a pass refuses or fails."""
        if recipe in self._made:
            return self._made[recipe]
        before = self.make(recipe[:-1], say)
        context = Context(self._scratch, self._threads, lambda _share, message, _metrics: say(message))
        began = time.monotonic()
        outcome = make(recipe[-1]).apply(before.graph, self._samples, context)
        size = outcome.graph.model.ByteSize()
        report = pass_report(len(recipe) - 1, recipe[-1], outcome, time.monotonic() - began, size)
        made = Made(outcome.graph, (*before.passes, report))
        if len(recipe) == 1:  # only what others begin with is worth its memory
            self._made[recipe] = made
        return made


@dataclass(frozen=True)
class Built:
    """A graph in one target's runtime: the delivered file's size, and a loaded session."""

    size: int
    session: Session


class Bench:
    """One target with the original on it, against which candidates are tried."""

    def __init__(self, target: Target, original: Graph, feed: Feed, threads: int, scratch: Path) -> None:
        self.target = target
        self._feed, self._threads, self._scratch = feed, threads, scratch
        self._thresholds = thresholds_of(original)
        self._original = self._build(original, scratch / f"{target.replace('/', '-')}-original")

    def _build(self, graph: Graph, folder: Path) -> Built:
        folder.mkdir(parents=True)
        runtime = runtime_for(self.target)
        graph.save(folder / "graph.onnx")
        artifact = folder / delivered_name(self.target)
        runtime.convert(folder / "graph.onnx", artifact)
        session = runtime.load(runtime.unpack(artifact, folder), self._threads)
        return Built(artifact.stat().st_size, session)

    def score(self, graph: Graph) -> Score:
        """Raises EngineError where the target cannot build or run the graph."""
        folder = self._scratch / f"{self.target.replace('/', '-')}-candidate"
        try:
            built = self._build(graph, folder)
            accuracy, fidelity = evaluate(
                self._original.session, built.session, self._feed, self._thresholds, lambda _done: None
            )
            lost = loss_of(accuracy, fidelity).drop.value
            return Score(
                lost=lost, speedup=self._times_as_fast(built.session), size_ratio=self._original.size / built.size
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # dozens of candidates would fill the disk

    def _times_as_fast(self, candidate: Session) -> float:
        """The median ratio of bursts in turns: brief, and only good for choosing."""
        inputs = next(iter(self._feed.batches())).inputs
        calls = self._original.session.bind(inputs), candidate.bind(inputs)
        runs = [max(1, int(BURST_SECONDS / max(_seconds(call, 3), 1e-6))) for call in calls]
        ratios = []
        for _ in range(ROUNDS):
            before, after = (_seconds(call, count) for call, count in zip(calls, runs, strict=True))
            ratios.append(before / after)
            time.sleep(PAUSE_SECONDS)
        return statistics.median(ratios)


def _seconds(call: Callable[[], object], count: int) -> float:
    """Mean seconds of a call."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count
