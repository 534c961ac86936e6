"""Looking into a graph while it runs: whole tensors, or what a few added nodes make of them, batch by batch.

Memory is that of one batch, however many there are.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from onnx import ModelProto, TensorProto, helper

from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.reasons import reason_of
from workers.engine.graph.session import Session
from workers.engine.passes.errors import CalibrationFailed

Batches = Callable[[], Iterable[Mapping[str, Array]]]
"""The calibration samples from the start, as often as it is called."""

T = TypeVar("T")

SEEN = "whetstone_seen/"
SIZE = "whetstone_size/"
TOGETHER = 64 * 2**20
"""Elements of one batch that are looked at in one run, so that not all activations are held at once."""


def without_outputs(model: ModelProto) -> ModelProto:
    """A copy to add what shall be seen to: the runtime skips whatever that does not depend on."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    return watched


def show(watched: ModelProto, tensor: str, shape: Sequence[int] | None = None) -> None:
    """Make a float32 tensor an output."""
    watched.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape))


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
        except Exception as error:  # whatever the runtime says about a graph or a sample
            raise CalibrationFailed(f"A calibration sample could not be run: {reason_of(error)}") from error


def in_groups(
    model: ModelProto, tensors: Sequence[str], batches: Batches, scratch: Path, threads: int
) -> Iterator[list[str]]:
    """Tensors that can be looked at together, by the sizes that they have on the first batch."""
    if not tensors:
        return
    watched = without_outputs(model)
    for name in tensors:
        made = f"{SIZE}{name}"
        watched.graph.node.append(helper.make_node("Size", [name], [made], name=made))
        watched.graph.output.append(helper.make_tensor_value_info(made, TensorProto.INT64, []))
    with session_of(watched, scratch, threads) as session:
        sizes = session.run(next(iter(batches())))
    yield from in_portions(tensors, lambda name: int(sizes[f"{SIZE}{name}"]), TOGETHER)


def in_portions(items: Sequence[T], size_of: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Cut a list where the sizes together would exceed a limit; what exceeds it alone comes alone."""
    portion: list[T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if portion and total + size > limit:
            yield portion
            portion, total = [], 0
        portion.append(item)
        total += size
    if portion:
        yield portion


def values_of(
    model: ModelProto, tensors: Sequence[str], batches: Batches, scratch: Path, threads: int
) -> Iterator[dict[str, Array]]:
    """Yield the values of float32 tensors, batch after batch. Raises CalibrationFailed."""
    watched = without_outputs(model)
    for name in tensors:  # an Identity each, since an input of the graph cannot be an output
        made = f"{SEEN}{name}"
        watched.graph.node.append(helper.make_node("Identity", [name], [made], name=made))
        show(watched, made)
    with session_of(watched, scratch, threads) as session:
        for batch in batches():
            yield {key.removeprefix(SEEN): values for key, values in session.run(batch).items()}
