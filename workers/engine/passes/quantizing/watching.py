"""Looking into a graph while it runs, in the engine: what goes wrong is a failed calibration."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from onnx import ModelProto

from whetstone.calibration import watching
from whetstone.calibration.arrays import Array, Batches
from whetstone.calibration.extremes import NotANumber
from whetstone.calibration.session import Session
from workers.engine.graph.graph import Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.passes.errors import CalibrationFailed


@contextmanager
def session_of(model: ModelProto, scratch: Path, threads: int) -> Iterator[Session]:
    """A session of a model that is only needed for a while. Raises CalibrationFailed for whatever goes wrong in it."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "watched.onnx"
        Graph(model).save(path)
        try:
            yield Session(path, threads=threads)
        except CalibrationFailed:
            raise
        except NotANumber as error:
            raise CalibrationFailed(str(error), layer=error.tensor) from error
        except Exception as error:  # whatever the runtime says about a graph or a sample
            raise CalibrationFailed(f"A calibration sample could not be run: {reason_of(error)}") from error


def opener(scratch: Path, threads: int) -> watching.Open:
    return partial(session_of, scratch=scratch, threads=threads)


def in_groups(
    model: ModelProto, tensors: Sequence[str], batches: Batches, scratch: Path, threads: int
) -> Iterator[list[str]]:
    """Tensors that can be looked at together, by the sizes that they have on the first batch."""
    return watching.in_groups(model, tensors, batches, opener(scratch, threads))


def values_of(
    model: ModelProto, tensors: Sequence[str], batches: Batches, scratch: Path, threads: int
) -> Iterator[dict[str, Array]]:
    """Yield the values of float32 tensors, batch after batch. Raises CalibrationFailed."""
    return watching.values_of(model, tensors, batches, opener(scratch, threads))
