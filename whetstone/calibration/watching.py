"""Looking into a graph while it runs: whole tensors, or what a few added nodes make of them, batch by batch.

Memory is that of one batch, however many there are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from onnx import ModelProto, TensorProto, helper

from whetstone.calibration.arrays import Array, Batches

T = TypeVar("T")

SEEN = "whetstone_seen/"
SIZE = "whetstone_size/"
TOGETHER = 64 * 2**20
"""Elements of one batch that are looked at in one run, so that not all activations are held at once."""


class Runs(Protocol):
    """A graph that is loaded."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...


Open = Callable[[ModelProto], AbstractContextManager[Runs]]
"""Loads a graph that is only needed for a while."""


def without_outputs(model: ModelProto) -> ModelProto:
    """A copy to add what shall be seen to: the runtime skips whatever that does not depend on."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    return watched


def show(watched: ModelProto, tensor: str, shape: Sequence[int] | None = None) -> None:
    """Make a float32 tensor an output."""
    watched.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, shape))


def in_groups(model: ModelProto, tensors: Sequence[str], batches: Batches, load: Open) -> Iterator[list[str]]:
    """Tensors that can be looked at together, by the sizes that they have on the first batch."""
    if not tensors:
        return
    watched = without_outputs(model)
    for name in tensors:
        made = f"{SIZE}{name}"
        watched.graph.node.append(helper.make_node("Size", [name], [made], name=made))
        watched.graph.output.append(helper.make_tensor_value_info(made, TensorProto.INT64, []))
    with load(watched) as session:
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


def values_of(model: ModelProto, tensors: Sequence[str], batches: Batches, load: Open) -> Iterator[dict[str, Array]]:
    """Yield the values of float32 tensors, batch after batch. Raises what `load` does."""
    watched = without_outputs(model)
    for name in tensors:  # an Identity each, since an input of the graph cannot be an output
        made = f"{SEEN}{name}"
        watched.graph.node.append(helper.make_node("Identity", [name], [made], name=made))
        show(watched, made)
    with load(watched) as session:
        for batch in batches():
            yield {key.removeprefix(SEEN): values for key, values in session.run(batch).items()}
