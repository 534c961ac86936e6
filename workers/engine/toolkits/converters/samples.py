"""Inputs for a model of which only the signature is known, and what it makes of them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from workers.engine.toolkits.converters.model import FIXED, Model, Refused, Tensor, first_line

BATCHES = (1, 15)


def samples(model: Model) -> dict[str, Any]:
    """Inputs and what the source makes of them, as `CALL.in.N` and `CALL.out.N`.

    Sixteen rows, in two batch sizes where the model takes any. Raises Refused where it cannot be run.
    """
    any_size = any(None in tensor.shape[1:] for tensor in model.inputs)
    for size in model.sizes if any_size else model.sizes[:1]:
        try:
            return dict(_calls(model, size))
        except Exception as error:  # noqa: BLE001 - frameworks raise whatever they met
            reason = error
    why = f"The {model.source} does not run on inputs of its own shapes: {first_line(reason)}"
    raise Refused("invalid_model", why, FIXED) from reason


def _calls(model: Model, size: int) -> Iterator[tuple[str, Any]]:
    draw = np.random.default_rng(0)
    any_batch = all(tensor.shape[:1] == (None,) for tensor in model.inputs)
    for call, batch in enumerate(BATCHES if any_batch else (1,) * sum(BATCHES)):
        given = [sample(tensor, batch, size, draw) for tensor in model.inputs]
        for index, value in enumerate(given):
            yield f"{call}.in.{index}", value
        for index, value in enumerate(model.run(given)):
            yield f"{call}.out.{index}", value


def sample(tensor: Tensor, batch: int, size: int, draw: np.random.Generator) -> Any:
    """Values that any network takes; floats from 0 to 1."""
    wanted = (batch, *(size for _ in tensor.shape[1:]))
    shape = [given if axis is None else axis for axis, given in zip(tensor.shape, wanted, strict=False)]
    if tensor.padded:
        lengths = draw.integers(1, shape[1] + 1, (shape[0], 1))
        return (np.arange(shape[1]) < lengths).astype(tensor.dtype)
    if tensor.dtype in (np.int8, np.uint8):
        span = np.iinfo(tensor.dtype)
        return draw.integers(span.min, span.max + 1, shape).astype(tensor.dtype)
    if tensor.dtype.kind in "iub":
        return draw.integers(0, tensor.below, shape).astype(tensor.dtype)
    return draw.random(shape).astype(tensor.dtype)
