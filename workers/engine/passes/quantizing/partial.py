"""Which layers stay in float: those that alone disturb the outputs most, and as few of them as it takes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from whetstone.calibration.session import Session
from whetstone.contract.metrics import Metric
from whetstone.contract.quantization import Partial
from workers.engine.data.samples import Batch
from workers.engine.graph.graph import Graph
from workers.engine.measure.accuracy import LabelsFitNoOutput, meter_for
from workers.engine.measure.fidelity import FidelityMeter
from workers.engine.measure.reading import reading_of
from workers.engine.measure.verdict import loss_of

SENSITIVITY_BATCHES = 2
SILENCE = 1e-30

Build = Callable[[Sequence[str]], Graph]
"""Quantize all layers but those named."""
BuildOne = Callable[[str], Graph]
"""Quantize one layer alone."""
Say = Callable[[float, str], None]


@dataclass(frozen=True)
class Found:
    """The graph that keeps the limit with the fewest layers in float, and how it was found.

    `kept` names layers, and maybe nodes without weights. `noise` is the error power at the outputs with only that layer
    quantized, relative to the signal, by layer name. `met` is false where no number of layers kept the limit within the
    trials: `graph` is then the nearest miss.
    """

    graph: Graph
    kept: tuple[str, ...]
    noise: dict[str, float]
    drop: float
    trials: int
    met: bool


class Judge:
    """Compares graphs with the float one on the same samples, streamed anew each time."""

    def __init__(
        self,
        original: Graph,
        batches: Callable[[], Iterable[Batch]],
        largest_label: float,
        scratch: Path,
        threads: int,
        metric: Metric | None = None,
    ) -> None:
        self._batches, self._largest_label = batches, largest_label
        self._scratch, self._threads = scratch, threads
        self._reading = reading_of(original, metric)
        self._reference = self._session(original)

    def _session(self, graph: Graph) -> Session:
        path = self._scratch / "trial.onnx"
        graph.save(path)
        session = Session(path, threads=self._threads)
        path.unlink()
        return session

    def noise(self, graph: Graph) -> float:
        """Error power at the outputs over signal power, on a few batches."""
        session, error, signal = self._session(graph), 0.0, 0.0
        for batch, _ in zip(self._batches(), range(SENSITIVITY_BATCHES), strict=False):
            for name, expected in self._reference.run(batch.inputs).items():
                got = session.run(batch.inputs)[name]
                error += float(((expected.astype(np.float64) - got.astype(np.float64)) ** 2).sum())
                signal += float((expected.astype(np.float64) ** 2).sum())
        return error / max(signal, SILENCE)

    def drop(self, graph: Graph) -> float:
        """What is lost by the metric; without one: points of accuracy by labels, else points of agreement, else percent
        of cosine similarity.
        """
        session, task = self._session(graph), None
        fidelity = FidelityMeter(synthetic=False, metric=self._reading.without_labels)
        for batch in self._batches():
            expected, got = self._reference.run(batch.inputs), session.run(batch.inputs)
            fidelity.add(expected, got, batch.size)
            if batch.labels is not None and self._reading.by_labels:
                try:
                    task = task or meter_for(expected, batch.labels, self._largest_label, self._reading)
                except LabelsFitNoOutput:
                    continue
                task.add(expected, got, batch.labels)
        return loss_of(task.accuracy() if task else None, fidelity.fidelity()).drop.value


@dataclass(frozen=True)
class Search:
    """How to find out what to spare: builders, a judge, and whom to tell."""

    config: Partial
    judge: Judge
    build: Build
    alone: BuildOne
    say: Say

    def run(self, layers: Sequence[str], others: Sequence[str]) -> Found:
        """Try quantizing all; then all but the nodes `others`, which hold no weights; then spare layers as well."""
        best = self._tried((), {}, 1)
        if not best.met and others and self.config.max_trials > 1:
            best = min(best, self._tried(tuple(others), {}, 2), key=lambda found: found.drop)
        if best.met or not layers:
            return best
        noise = {}
        for number, name in enumerate(layers):
            noise[name] = self.judge.noise(self.alone(name))
            self.say(0.6 * number / len(layers), f"{name} alone: relative error {noise[name]:.2g}")
        return self._bisect(sorted(layers, key=lambda name: -noise[name]), noise, best)

    def _tried(self, kept: tuple[str, ...], noise: dict[str, float], trials: int) -> Found:
        graph = self.build(kept)
        drop = self.judge.drop(graph)
        return Found(graph, kept, noise, drop, trials, met=drop <= self.config.max_drop)

    def _bisect(self, ranked: Sequence[str], noise: dict[str, float], start: Found) -> Found:
        low, high, trials, met, nearest = 1, len(ranked) - 1, start.trials, None, start
        while low <= high and trials < self.config.max_trials:
            count = (low + high) // 2
            trials += 1
            tried = self._tried((*start.kept, *ranked[:count]), noise, trials)
            told = f"{count} of {len(ranked)} layers spared: {tried.drop:.2f} lost"
            self.say(0.6 + 0.4 * trials / self.config.max_trials, told)
            if tried.met:
                met, high = tried, count - 1
            else:
                nearest, low = min(nearest, tried, key=lambda found: found.drop), count + 1
        return replace(met or nearest, noise=noise, trials=trials)
