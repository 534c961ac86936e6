"""One pass over the samples through both delivered files: accuracy where there are labels, fidelity always."""

from collections.abc import Callable

from whetstone.contract.reports import Accuracy, Fidelity
from workers.engine.data.samples import Batch
from workers.engine.measure.accuracy import Meter, meter_for
from workers.engine.measure.feed import Feed
from workers.engine.measure.fidelity import FidelityMeter
from workers.engine.measure.reading import Reading
from workers.engine.targets.runtime import Arrays, Session

Look = Callable[[Arrays, Arrays, Batch], None]
"""Shown the outputs of original and result on a batch."""


def _look_away(_original: Arrays, _result: Arrays, _batch: Batch) -> None:
    pass


def evaluate(
    original: Session,
    result: Session,
    feed: Feed,
    reading: Reading,
    watch: Callable[[int], None],
    look: Look = _look_away,
) -> tuple[Accuracy | None, Fidelity]:
    """Run every sample once through each side; `watch` is told how many are done, `look` sees every batch.

    With a metric that needs no labels there is no accuracy. Batches have the size that latency is measured at: with
    dynamic quantization it changes the results.

    Raises: LabelsFitNoOutput, OneClassOnly, NoDecision, NotFinite, ShapesDiffer.
    """
    fidelity = FidelityMeter(synthetic=feed.samples is None, metric=reading.without_labels)
    task: Meter | None = None
    labels, done = feed.labels if reading.by_labels else None, 0
    for batch in feed.batches():
        expected, got = original.run(batch.inputs), result.run(batch.inputs)
        fidelity.add(expected, got, batch.size)
        if batch.labels is not None and labels is not None:
            task = task or meter_for(expected, batch.labels, float(labels.max()), reading)
            task.add(expected, got, batch.labels)
        look(expected, got, batch)
        done += batch.size
        watch(done)
    return task.accuracy() if task else None, fidelity.fidelity()
