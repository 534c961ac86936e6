"""Seeded random inputs for a model that came without a dataset."""

from collections.abc import Iterator, Mapping

import numpy as np

from whetstone.contract.models import TensorFacts
from workers.engine.data.archive import Array
from workers.engine.data.errors import DatasetMismatch

FLOATS = ("float32", "float16", "float64")


def _shape(facts: TensorFacts, given: tuple[int, ...] | None, batch_size: int) -> tuple[int, ...]:
    if given is not None and len(given) != len(facts.shape):
        raise DatasetMismatch(
            f"Input '{facts.name}' has {len(facts.shape)} axes; the shape given for it has {len(given)}."
        )
    shape: list[int] = []
    for axis, declared in enumerate(facts.shape):
        asked = given[axis] if given is not None else None
        if isinstance(declared, int) and asked not in (None, declared):
            raise DatasetMismatch(f"Axis {axis} of input '{facts.name}' is fixed at {declared}, not {asked}.")
        size = declared if isinstance(declared, int) else batch_size if axis == 0 else asked
        if size is None:
            raise DatasetMismatch(
                f"Axis {axis} of input '{facts.name}' is dynamic, and nothing tells its size.",
                hint=f"Give input_shapes for '{facts.name}', or a dataset.",
            )
        shape.append(size)
    return tuple(shape)


def random_inputs(
    inputs: tuple[TensorFacts, ...],
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    batch_size: int = 1,
    seed: int = 0,
) -> dict[str, Array]:
    """Standard normal arrays for every input; a dynamic first axis takes `batch_size`.

    `input_shapes` gives full shapes for inputs with other dynamic axes. Raises DatasetMismatch for integer inputs
    (ids, masks and lengths cannot be guessed) and for axes of unknown size.
    """
    generator = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for facts in inputs:
        if facts.dtype not in FLOATS:
            raise DatasetMismatch(
                f"Input '{facts.name}' is {facts.dtype}; random values would be meaningless there.",
                hint="Upload a dataset: integer inputs need real examples.",
            )
        shape = _shape(facts, (input_shapes or {}).get(facts.name), batch_size)
        made[facts.name] = generator.standard_normal(shape).astype(facts.dtype)
    return made


def random_batches(
    inputs: tuple[TensorFacts, ...],
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    count: int,
    batch_size: int = 1,
    seed: int = 0,
) -> Iterator[dict[str, Array]]:
    """Yield `count` different batches of `random_inputs`."""
    for number in range(count):
        yield random_inputs(inputs, input_shapes, batch_size=batch_size, seed=seed + number)
