"""The shapes that an engine must take, from what the job runs on."""

from whetstone.contract.models import TensorFacts
from whetstone.contract.reports import ShapeRange
from workers.engine.measure.feed import Feed

LARGEST_BATCH = 32
"""Of a model whose batch axis is free, unless the job measures a larger one."""


def ranges_of(feed: Feed) -> tuple[ShapeRange, ...]:
    """A free batch axis goes from 1 to `LARGEST_BATCH` or the measured batch, for which the engine is tuned. Every
    other axis has the one size that all samples of the job have.
    """
    first = next(feed.batches()).inputs
    return tuple(_range(tensor, first[tensor.name].shape) for tensor in feed.inputs)


def _range(tensor: TensorFacts, usual: tuple[int, ...]) -> ShapeRange:
    if not tensor.shape or isinstance(tensor.shape[0], int):
        return ShapeRange(input=tensor.name, least=usual, usual=usual, most=usual)
    batch, *rest = usual
    return ShapeRange(input=tensor.name, least=(1, *rest), usual=usual, most=(max(LARGEST_BATCH, batch), *rest))
