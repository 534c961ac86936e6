"""How sensitive each layer is: how far the model's outputs move when only this layer is pruned."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whetstone.calibration.session import Session
from whetstone.contract.datasets import Split
from whetstone.contract.reports import Curve
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.graph.graph import Array, Graph
from workers.engine.passes.checks import probes
from workers.engine.passes.errors import NeedsDataset
from workers.engine.passes.graph_pass import Context

SHARES = (0.25, 0.5, 0.75)
SAMPLES = 32
BATCHES, LARGEST_BATCH = 10, 16


def feeds(graph: Graph, data: Samples | None, count: int) -> list[dict[str, Array]]:
    """Batches of `count` calibration samples in all, ten or more of them if there are so many samples.

    Made up where there is no dataset and the inputs are floats.
    """
    if data is None or not data.has(Split.CALIBRATION):
        return probes(graph, data)
    rows = np.arange(min(count, data.count(Split.CALIBRATION)))
    batch = 1 if fixed_at_one(graph.inputs) else min(max(len(rows) // BATCHES, 1), LARGEST_BATCH)
    return [found.inputs for found in data.batches(Split.CALIBRATION, batch, within=rows)]


def _outputs(graph: Graph, inputs: Iterable[Mapping[str, Array]], scratch: Path) -> NDArray[np.float64]:
    """All floating point outputs, one after the other, as one vector."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "model.onnx"
        graph.save(path)
        session = Session(path)
        made = [value for feed in inputs for value in session.run(feed).values() if value.dtype.kind == "f"]
    return np.concatenate([value.astype(np.float64).reshape(-1) for value in made])


def scan(
    original: Graph,
    layers: Mapping[str, Callable[[float], Graph]],
    data: Samples | None,
    context: Context,
) -> tuple[Curve, ...]:
    """A curve for each layer: the relative error of the outputs, ‖y' - y‖ / ‖y‖, by the share of it that is pruned.

    `layers` give the model with that share of one layer gone. Raises NeedsDataset if nothing can be fed.
    """
    inputs = feeds(original, data, SAMPLES)
    if not inputs:
        raise NeedsDataset("The sensitivity scan must run the model, and its inputs cannot be made up.")
    truth = _outputs(original, inputs, context.scratch)
    size = max(float(np.linalg.norm(truth)), 1e-30)
    curves = []
    for number, (name, pruned) in enumerate(layers.items()):
        moved = [float(np.linalg.norm(_outputs(pruned(share), inputs, context.scratch) - truth)) for share in SHARES]
        curves.append(
            Curve(
                name=name,
                x_label="share of the layer pruned",
                y_label="relative output error",
                x=(0.0, *SHARES),
                y=(0.0, *(error / size for error in moved)),
            )
        )
        context.tell(0.5 * (number + 1) / len(layers), f"scanned '{name}'", {})
    return tuple(curves)
