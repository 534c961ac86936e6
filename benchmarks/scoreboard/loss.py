"""What a file gives away against the original, by one definition for everybody.

Relative to the original, in percent: the accuracy (or the rise of the mean squared error) where the test split has
labels; else the share of changed decisions, where an output decides among classes; else one minus the mean cosine
similarity of the outputs. It is measured by the engine's own `evaluate`, on the delivered file in its runtime.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from whetstone.contract.metrics import Metric
from whetstone.contract.reports import Accuracy, Fidelity
from whetstone.contract.targets import Target
from workers.engine.data.samples import open_dataset
from workers.engine.importers.detect import open_model
from workers.engine.measure.evaluation import evaluate
from workers.engine.measure.feed import Feed
from workers.engine.measure.latency import cores_for
from workers.engine.measure.reading import reading_of
from workers.engine.measure.verdict import loss_of
from workers.engine.targets.choose import runtime_for
from workers.engine.targets.runtime import Array, Arrays, Session


class Replay:
    """The original's outputs, kept: every other file is compared with them, sample by sample in order."""

    def __init__(self, session: Session, feed: Feed) -> None:
        self._outputs = [session.run(batch.inputs) for batch in feed.batches()]
        self._next: Iterator[dict[str, Array]] = iter(())

    def rewound(self) -> "Replay":
        self._next = iter(self._outputs)
        return self

    def run(self, inputs: Arrays) -> Mapping[str, Array]:  # noqa: ARG002 - it knows which ones come
        return next(self._next)


@dataclass(frozen=True)
class Loss:
    """`percent` is relative to the original, negative where something was gained; `score` is the original's accuracy,
    from 0 to 1, where that is what counts.
    """

    percent: float
    what: str
    score: float | None


class Judge:
    """One model with its test split."""

    def __init__(self, model: Path, data: Path, scratch: Path) -> None:
        graph = open_model(model, scratch)
        self._reading, self._threads = reading_of(graph), len(cores_for(None))
        self.feed = Feed(graph.inputs, 1, {}, open_dataset(data, scratch))
        self._replay = Replay(runtime_for(Target.ONNXRUNTIME_CPU).load(model, self._threads), self.feed)

    def loss(self, target: Target, artifact: Path, scratch: Path) -> Loss:
        """Raises EngineError, or whatever the runtime raises, where the file cannot be run."""
        scratch.mkdir(parents=True, exist_ok=True)
        runtime = runtime_for(target)
        session = runtime.load(runtime.unpack(artifact, scratch), self._threads)
        found = evaluate(self._replay.rewound(), session, self.feed, self._reading, lambda _done: None)
        return _relative(*found)


def _relative(accuracy: Accuracy | None, fidelity: Fidelity) -> Loss:
    lost = loss_of(accuracy, fidelity).drop.value
    if accuracy and accuracy.metric is Metric.ACCURACY:
        relative = lost / accuracy.original if accuracy.original else 0.0
        return Loss(relative, f"accuracy ({100 * accuracy.original:.1f} %)", accuracy.original)
    if accuracy:
        return Loss(lost, "mean squared error", None)
    return Loss(lost, "agreement" if fidelity.agreement else "cosine", None)
