"""Measure a model's tensors on samples, where both are: the statistics tell ranges and histograms, no sample."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import onnx
from onnx import ModelProto, ValueInfoProto

from whetstone.calibration.arrays import Array
from whetstone.calibration.extremes import averaged, extremes_by_batch, finite, histograms_of, merged, widened
from whetstone.calibration.histograms import Histogram
from whetstone.calibration.samples import BATCH, CalibrationSamples
from whetstone.calibration.session import Session
from whetstone.contract.statistics import CalibrationStatistics, TensorStatistics
from whetstone.errors import WhetstoneError

CHUNK = 2**20
LARGEST = 2**31 - 2**20
"""Bytes of a model that protobuf can hold in one message."""

OnSamples = Callable[[int], None]


class CannotCalibrate(WhetstoneError):
    """The model cannot be run on these samples."""


def collect(
    model: Path, data: Path, most: int = 256, threads: int = 0, on_samples: OnSamples | None = None
) -> CalibrationStatistics:
    """Statistics of an .onnx file over at most `most` samples, a seeded choice; `threads` 0 means all cores.

    Raises CannotCalibrate, UnreadableSamples.
    """
    graph = _loaded(model)
    with tempfile.TemporaryDirectory(prefix="whet-") as folder:
        samples = CalibrationSamples(data, _inputs(graph), Path(folder), most)
        size = 1 if _takes_one(graph) else BATCH
        batches = partial(_counted, samples, size, on_samples)
        load = partial(_session, folder=Path(folder), threads=threads)
        lowest: dict[str, tuple[float, float]] = {}
        average: dict[str, tuple[float, float]] = {}
        for batch in extremes_by_batch(graph, batches, load):
            merged(lowest, batch, widened)
            merged(average, batch, averaged)
        histograms = histograms_of(graph, batches, load, finite(lowest))
        return CalibrationStatistics(
            model_sha256=_sha256(model),
            samples=samples.count,
            batch_size=size,
            inputs=tuple(_inputs(graph)),
            tensors=tuple(
                _tensor(name, shape_of(graph, name), lowest[name], average[name], histogram)
                for name, histogram in histograms.items()
            ),
            unbounded=tuple(name for name in lowest if name not in histograms),
        )


def _loaded(path: Path) -> ModelProto:
    try:
        model = onnx.load(path)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # protobuf, a missing data file, and shape inference fail in ways of their own
        raise CannotCalibrate(f"{path.name} cannot be read as ONNX: {error}") from error


def _inputs(model: ModelProto) -> dict[str, ValueInfoProto]:
    stored = {tensor.name for tensor in model.graph.initializer}
    return {value.name: value for value in model.graph.input if value.name not in stored}


def _takes_one(model: ModelProto) -> bool:
    """One sample at a time where the batch is fixed at one, or where control flow may hang on its neighbours."""
    fixed = any(_sizes(value)[:1] == (1,) for value in _inputs(model).values())
    return fixed or any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute)


def _sizes(value: ValueInfoProto) -> tuple[int | str | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims)


def shape_of(model: ModelProto, name: str) -> tuple[int | str | None, ...] | None:
    """What the graph says of a tensor's shape; None where it says nothing."""
    graph = model.graph
    found = next((value for value in (*graph.input, *graph.value_info, *graph.output) if value.name == name), None)
    return _sizes(found) if found is not None and found.type.tensor_type.HasField("shape") else None


@contextmanager
def _session(model: ModelProto, folder: Path, threads: int) -> Iterator[Session]:
    """From a file of its own: a model in memory may be at most two gigabytes."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "watched.onnx"
        onnx.save(model, path, save_as_external_data=model.ByteSize() > LARGEST)
        try:
            yield Session(path, threads=threads)
        except WhetstoneError:
            raise
        except Exception as error:  # whatever the runtime says about a graph or a sample
            raise CannotCalibrate(f"The model cannot be run on these samples: {error}") from error


def _counted(samples: CalibrationSamples, size: int, on_samples: OnSamples | None) -> Iterator[dict[str, Array]]:
    for batch in samples.batches(size):
        yield batch
        if on_samples:
            on_samples(len(next(iter(batch.values()))))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensor(
    name: str,
    shape: tuple[int | str | None, ...] | None,
    extremes: tuple[float, float],
    average: tuple[float, float],
    histogram: Histogram,
) -> TensorStatistics:
    return TensorStatistics(
        name=name,
        shape=shape,
        low=extremes[0],
        high=extremes[1],
        average_low=average[0],
        average_high=average[1],
        counts=tuple(int(count) for count in histogram.counts) if histogram.counts.any() else (),
    )
