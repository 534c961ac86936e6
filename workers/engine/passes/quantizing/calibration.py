"""The samples that ranges, shifts and roundings are measured on: a seeded choice, streamed anew each time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from whetstone.contract.datasets import Split
from whetstone.contract.quantization import Calibrator, Quantize
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Batch, Samples
from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.shapes import count_activations, has_subgraphs
from workers.engine.passes.errors import CalibrationFailed
from workers.engine.passes.goal import shapes_of
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantizing.ranges import Ranges, find_ranges, with_shapes

BATCH = 16
MOST_ELEMENTS = 128 * 2**20
"""Of all activations of a batch together, as far as their shapes are known: half a gibibyte in float32."""

SEED = 0
PERCENTILE = 99.99
CONSTANT = "Every calibration sample is one and the same number: input {inputs}. No range can be measured on that."
STILL = "Input '{name}' is {value:g} in every calibration sample; ranges hold for that value only."


@dataclass(frozen=True)
class Calibration:
    """The calibration samples that the settings ask for, as batches that the model takes."""

    config: Quantize
    samples: Samples
    context: Context
    batch_size: int

    @classmethod
    def of(cls, config: Quantize, samples: Samples, context: Context, graph: Graph) -> "Calibration":
        """One sample at a time where that is all the model takes, or where control flow may hang on its neighbours;
        and no more at once than fit into `MOST_ELEMENTS`.
        """
        alone = fixed_at_one(graph.inputs) or has_subgraphs(graph)
        fitting = MOST_ELEMENTS // max(1, count_activations(graph, shapes_of(samples)))
        return cls(config, samples, context, 1 if alone else min(BATCH, max(1, fitting)))

    @property
    def count(self) -> int:
        return min(self.config.calibration_samples, self.samples.count(Split.CALIBRATION))

    def batches(self, *, labels: bool = False) -> Iterator[Batch]:
        """In the order of the file; with labels where there are any and they are asked for."""
        order = np.random.default_rng(SEED).permutation(self.samples.count(Split.CALIBRATION))
        chosen = np.sort(order[: self.config.calibration_samples])
        with_labels = labels and self.samples.has_labels(Split.CALIBRATION)
        return self.samples.batches(Split.CALIBRATION, self.batch_size, within=chosen, with_labels=with_labels)

    def inputs(self) -> Iterator[dict[str, Array]]:
        """The inputs alone, by name."""
        return (batch.inputs for batch in self.batches())

    def check(self) -> tuple[str, ...]:
        """Notes on inputs that never change. Raises CalibrationFailed where none does, naming them."""
        still = self._still()
        names = next(self.inputs()).keys()
        if still.keys() == set(names):
            told = ", ".join(f"'{name}' is always {value:g}" for name, value in still.items())
            raise CalibrationFailed(CONSTANT.format(inputs=told), layer=next(iter(names)))
        return tuple(STILL.format(name=name, value=value) for name, value in still.items())

    def _still(self) -> dict[str, float]:
        """Inputs all of whose elements are one number, and which."""
        seen: dict[str, tuple[float, float]] = {}
        for batch in self.inputs():
            for name, values in batch.items():
                if values.dtype.kind not in "biuf" or not values.size:
                    continue
                low, high = seen.get(name, (np.inf, -np.inf))
                seen[name] = min(low, float(np.min(values))), max(high, float(np.max(values)))
        return {name: low for name, (low, high) in seen.items() if low == high}

    def ranges(self, graph: Graph) -> Ranges:
        """The ranges that the calibrator chooses, told as the first 40 % of the pass. Raises CalibrationFailed."""
        passes = 1 if self.config.calibrator in (Calibrator.MINMAX, Calibrator.MOVING_AVERAGE) else 2
        done = 0

        def batches() -> Iterator[dict[str, Array]]:
            nonlocal done
            for batch in self.batches():
                yield batch.inputs
                done += batch.size
                share = 0.4 * min(done / (passes * self.count), 1.0)
                self.context.tell(share, f"Calibrated with {min(done, self.count)} of {self.count} samples", {})

        calibrator, percentile = self.config.calibrator, self.config.percentile or PERCENTILE
        model, context = with_shapes(graph), self.context
        return find_ranges(model, batches, context.scratch, context.threads, calibrator, percentile)

    def notes(self) -> tuple[str, ...]:
        """Where there are fewer samples than were asked for."""
        have, wanted = self.samples.count(Split.CALIBRATION), self.config.calibration_samples
        return (f"Calibrated with all {have} samples there are; {wanted} were asked for.",) if have < wanted else ()
