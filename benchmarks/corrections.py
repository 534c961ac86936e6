"""What the corrections of `quantize` win back on published models.

For every setting the power of the error at the outputs, over that of the signal, on part of the test split, between the
original and the quantized graph in onnxruntime. Nothing is timed but the pass itself.

    python scripts/install.py bench      installs the models (once; `make bench` does it)
    python -m benchmarks.corrections [--quick] [--models a,b]
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.published.catalogue import written
from benchmarks.scoreboard import packages
from whetstone.calibration.session import Session
from whetstone.contract.datasets import Split
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Activations, Partial, Precision, Quantize, Rounding, Smooth
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Array, Graph
from workers.engine.importers.detect import open_model
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass
from workers.engine.passes.simplify import SimplifyPass

NAMES = ("mtcnn_rnet", "rapidocr_cls", "magika", "efficientnet_lite0", "minilm")
QUICK = ("mtcnn_rnet", "rapidocr_cls")
TESTED, CALIBRATED = 32, 64
LEARNED = Rounding.LEARNED
SETTINGS = {
    "static": Quantize(),
    "static, equalized": Quantize(equalize=True),
    "static, smoothed": Quantize(smooth=Smooth()),
    "static, learned rounding": Quantize(rounding=LEARNED),
    "static, corrected biases": Quantize(bias_correction=True),
    "static, partial": Quantize(partial=Partial()),
    "static, partial, all of it": Quantize(
        partial=Partial(), equalize=True, smooth=Smooth(), rounding=LEARNED, bias_correction=True
    ),
    "dynamic": Quantize(activations=Activations.DYNAMIC),
    "dynamic, smoothed, rounded, corrected": Quantize(
        activations=Activations.DYNAMIC, smooth=Smooth(), rounding=LEARNED, bias_correction=True
    ),
    "int4": Quantize(precision=Precision.INT4),
    "int4, learned rounding": Quantize(precision=Precision.INT4, rounding=LEARNED, bias_correction=True),
    "int4, some int8": Quantize(precision=Precision.INT4, partial=Partial()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}")
    parser.add_argument("--models", help="only these, with commas between")
    wanted = parser.parse_args()
    packages.make_visible()
    for name in wanted.models.split(",") if wanted.models else QUICK if wanted.quick else NAMES:
        with tempfile.TemporaryDirectory(prefix="whetstone-bench-") as scratch:
            measure(name, written(name), Path(scratch))


def measure(name: str, folder: Path, scratch: Path) -> None:
    """Print a line for every setting."""
    context = Context(scratch)
    graph = open_model(folder / "model.onnx", scratch)
    samples = open_dataset(folder / "data.npz", scratch)
    graph = SimplifyPass(Simplify()).apply(graph, samples, context).graph
    expected = list(outputs(graph, samples, scratch))
    for setting, config in SETTINGS.items():
        began = time.monotonic()
        try:
            quantized = QuantizePass(config.model_copy(update={"calibration_samples": CALIBRATED}))
            found = error(expected, outputs(quantized.apply(graph, samples, context).graph, samples, scratch))
        except EngineError as refused:
            print(f"{name}, {setting}: {refused}", flush=True)
            continue
        seconds = time.monotonic() - began
        print(f'RESULT model={name} setting="{setting}" error={found:.3g} seconds={seconds:.1f}', flush=True)


def outputs(graph: Graph, samples: Samples, scratch: Path) -> Iterator[dict[str, Array]]:
    """The float outputs for some test samples, one sample at a time."""
    path = scratch / "graph.onnx"
    graph.save(path)
    session = Session(path)
    for batch in islice(samples.batches(Split.TEST, 1), TESTED):
        yield {name: values for name, values in session.run(batch.inputs).items() if values.dtype.kind == "f"}


def error(expected: list[dict[str, Array]], found: Iterator[dict[str, Array]]) -> float:
    """The power of the difference over that of what was expected."""
    difference = signal = 0.0
    for before, after in zip(expected, found, strict=True):
        for name, values in before.items():
            wide = values.astype(np.float64)
            difference += float(((wide - after[name]) ** 2).sum())
            signal += float((wide**2).sum())
    return difference / signal


if __name__ == "__main__":
    main()
