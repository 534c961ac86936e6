"""Whether a result is as close to the original at one batch size as at another.

A rewriting that bakes the batch size of calibration into the graph is right there, and nonsense elsewhere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from whetstone.contract.datasets import Split
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.samples import Samples
from workers.engine.data.synthesis import random_inputs
from workers.engine.graph.graph import Array, Graph
from workers.engine.passes.errors import BrokenResult, CalibrationFailed
from workers.engine.passes.quantizing.watching import session_of

TOGETHER = 8
WORSE, NOTICEABLE = 10.0, 0.05
"""An error is that of a batch size if it is so many times the other's, and so large a share of the signal."""
SILENCE = 1e-30

Feed = Mapping[str, Array]


def agrees_at_every_batch(before: Graph, after: Graph, data: Samples | None, scratch: Path) -> None:
    """Run some samples together and one by one. Raises BrokenResult if that makes a difference to how close the result
    is to the original. Does nothing for a model that takes one sample at a time, or whose inputs cannot be made up.
    """
    together = _samples(before, data)
    if together is None:
        return
    count = min(len(values) for values in together.values())
    alone = [{name: values[index : index + 1] for name, values in together.items()} for index in range(count)]
    try:
        errors = _errors(before, after, [[together], alone], scratch)
    except CalibrationFailed:  # one of them cannot be run so; whether both can alike is checked elsewhere
        return
    if max(errors) > NOTICEABLE and max(errors) > WORSE * min(errors):
        told = f"{errors[0]:.2g} of the signal's power on {count} samples at once, {errors[1]:.2g} on them one by one"
        raise BrokenResult(f"The result's error depends on the batch size: {told}.")


def _samples(graph: Graph, data: Samples | None) -> Feed | None:
    if any(not facts.shape or isinstance(facts.shape[0], int) for facts in graph.inputs):
        return None
    split = next((s for s in (Split.CALIBRATION, Split.TEST) if data is not None and data.has(s)), None)
    if data is not None and split is not None:
        return next(data.batches(split, TOGETHER)).inputs
    try:
        return random_inputs(graph.inputs, batch_size=TOGETHER)
    except DatasetMismatch:
        return None


def _errors(before: Graph, after: Graph, runs: Sequence[Sequence[Feed]], scratch: Path) -> list[float]:
    """For each list of inputs, the power of the error over that of the signal, at the float outputs."""
    found = []
    with session_of(before.model, scratch, 1) as original, session_of(after.model, scratch, 1) as result:
        for feeds in runs:
            error = signal = 0.0
            for feed in feeds:
                old, new = original.run(feed), result.run(feed)
                for name, values in old.items():
                    if values.dtype.kind == "f":
                        wide = np.nan_to_num(values.astype(np.float64))
                        error += float(((np.nan_to_num(new[name].astype(np.float64)) - wide) ** 2).sum())
                        signal += float((wide**2).sum())
            found.append(error / max(signal, SILENCE))
    return found
