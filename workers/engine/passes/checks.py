"""What must hold after any pass."""

import tempfile
from pathlib import Path

import numpy as np
import onnx

from whetstone.calibration.session import Session
from whetstone.contract.datasets import Split
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.fit import fixed_at_one
from workers.engine.data.samples import Samples
from workers.engine.data.synthesis import random_inputs
from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.passes.errors import BrokenResult

BATCHES = (1, 3)
"""A graph that is only right at the batch size it was made with shows itself at another."""


def _interface(graph: Graph) -> list[tuple[object, ...]]:
    """What callers rely on. Shapes of outputs are left out: many exporters declare none, and some wrong ones."""
    return [*((i.name, i.dtype, i.shape) for i in graph.inputs), *((o.name, o.dtype) for o in graph.outputs)]


def same_interface(before: Graph, after: Graph) -> None:
    """Raises BrokenResult unless inputs and outputs have the same names and types, and inputs the same axes."""
    old, new = _interface(before), _interface(after)
    if old != new:
        raise BrokenResult(f"The pass changed the model's inputs and outputs from {old} to {new}.")


def probes(graph: Graph, data: Samples | None) -> list[dict[str, Array]]:
    """A few inputs to try a graph with: real ones if there are any, else random ones, else none."""
    sizes = BATCHES[:1] if fixed_at_one(graph.inputs) else BATCHES
    split = next((split for split in (Split.CALIBRATION, Split.TEST) if data is not None and data.has(split)), None)
    if data is not None and split is not None:
        return [next(data.batches(split, size)).inputs for size in sizes]
    try:
        return [random_inputs(graph.inputs, batch_size=size) for size in sizes]
    except DatasetMismatch:  # integers or open axes: nothing sensible can be made up
        return []


def _outputs(graph: Graph, inputs: list[dict[str, Array]], folder: Path, *, name: str) -> list[dict[str, Array] | str]:
    """Outputs per input, or what the runtime said instead. Raises what checker and runtime raise."""
    path = folder / f"{name}.onnx"
    graph.save(path)
    onnx.checker.check_model(str(path))  # onnxruntime forgives what other runtimes do not, such as unsorted nodes
    session = Session(path)
    made: list[dict[str, Array] | str] = []
    for feed in inputs:
        try:
            made.append(session.run(feed))
        except Exception as error:  # noqa: BLE001 - the runtime has a dozen kinds; each means "not with this input"
            made.append(reason_of(error))
    return made


def run_both(
    before: Graph, after: Graph, data: Samples | None, scratch: Path
) -> list[tuple[dict[str, Array], dict[str, Array]]]:
    """Outputs of both graphs on the same inputs, for every input that the first graph can be run with.

    Raises BrokenResult if the second is no valid ONNX, cannot be loaded, or not run where the first can.
    """
    inputs = probes(before, data)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        originals = _outputs(before, inputs, Path(name), name="before")
        try:
            results = _outputs(after, inputs, Path(name), name="after")
        except Exception as error:
            raise BrokenResult(f"The result cannot be loaded: {reason_of(error)}") from error
    pairs = []
    for original, result in zip(originals, results, strict=True):
        if isinstance(original, str):
            continue
        if isinstance(result, str):
            raise BrokenResult(f"onnxruntime cannot run the result: {result}")
        pairs.append((original, result))
    return pairs


def still_runs(before: Graph, after: Graph, data: Samples | None, scratch: Path) -> None:
    """Raises BrokenResult unless the result runs wherever the original does, with outputs of the same shapes, finite
    where those were finite.
    """
    for original, result in run_both(before, after, data, scratch):
        for name, old in original.items():
            new = result[name]
            if new.shape != old.shape:
                raise BrokenResult(f"Output '{name}' had the shape {list(old.shape)}, now {list(new.shape)}.")
            if old.dtype.kind == "f" and np.isfinite(old).all() and not np.isfinite(new).all():
                raise BrokenResult(f"Output '{name}' now contains NaN or infinite values.")


def same_results(before: Graph, after: Graph, data: Samples | None, scratch: Path, tolerance: float) -> bool:
    """Raises BrokenResult if an output differs by more than `tolerance` times its largest value.

    Returns whether anything could be compared.
    """
    pairs = run_both(before, after, data, scratch)
    for original, result in pairs:
        for name, old in original.items():
            limit = tolerance * max(1.0, float(np.abs(old).max(initial=0))) if old.dtype.kind == "f" else 0
            new = result[name]
            if new.shape != old.shape or not np.allclose(new, old, rtol=0, atol=limit, equal_nan=True):
                raise BrokenResult(f"Output '{name}' is no longer what it was.")
    return bool(pairs)
