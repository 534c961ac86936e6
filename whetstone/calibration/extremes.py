"""The lowest and the highest value of every float tensor of a graph, batch by batch, in constant memory."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from onnx import ModelProto, TensorProto, helper

from whetstone.calibration.arrays import Array, Batches, Ranges
from whetstone.calibration.histograms import Histogram
from whetstone.calibration.watching import Open, in_groups, show, values_of, without_outputs

LOWEST, HIGHEST, TOTAL = "whetstone_lowest/", "whetstone_highest/", "whetstone_total/"
MOMENTUM = 0.9
"""How much a moving average keeps of what it was."""

Merge = Callable[[tuple[float, float], float, float], tuple[float, float]]


class NotANumber(ValueError):
    """A tensor becomes NaN on a calibration sample."""

    def __init__(self, tensor: str) -> None:
        super().__init__(f"'{tensor}' becomes NaN on a calibration sample.")
        self.tensor = tensor


def float_tensors(model: ModelProto) -> list[str]:
    """Computed float32 tensors and inputs, as far as shape inference knows their type."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    return [
        name
        for name, value in values.items()
        if name not in stored and value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]


def _with_extremes(model: ModelProto, names: list[str]) -> ModelProto:
    """The model with the minimum, the maximum and the sum of each tensor as its only outputs, not a whole tensor.

    The sum is for NaN: minima and maxima of a tensor with a single one may well be numbers.
    """
    watched = without_outputs(model)
    for name in names:
        for op, prefix in (("ReduceMin", LOWEST), ("ReduceMax", HIGHEST), ("ReduceSum", TOTAL)):
            made = f"{prefix}{name}"
            watched.graph.node.append(helper.make_node(op, [name], [made], name=made, keepdims=0))
            show(watched, made, [])
    return watched


def _extremes(made: Mapping[str, Array]) -> Iterator[tuple[str, tuple[float, float]]]:
    for key, low in made.items():
        if key.startswith(LOWEST):
            name = key.removeprefix(LOWEST)
            lowest, highest, total = (float(value) for value in (low, made[f"{HIGHEST}{name}"], made[f"{TOTAL}{name}"]))
            bounded = not (math.isinf(lowest) or math.isinf(highest))  # else the sum may be NaN for that
            if math.isnan(lowest) or math.isnan(highest) or (bounded and math.isnan(total)):
                raise NotANumber(name)
            yield name, (lowest, highest)


def extremes_by_batch(model: ModelProto, batches: Batches, load: Open) -> Iterator[Ranges]:
    """Yield them for each batch. Raises NotANumber, and what `load` does."""
    with load(_with_extremes(model, float_tensors(model))) as session:
        for batch in batches():
            yield dict(_extremes(session.run(batch)))


def widened(before: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    return min(before[0], low), max(before[1], high)


def averaged(before: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """A moving average, in which newer batches count more."""
    return MOMENTUM * before[0] + (1 - MOMENTUM) * low, MOMENTUM * before[1] + (1 - MOMENTUM) * high


def merged(found: Ranges, batch: Ranges, merge: Merge) -> None:
    """Take in the extremes of one more batch."""
    for name, (low, high) in batch.items():
        found[name] = merge(found[name], low, high) if name in found else (low, high)


def finite(found: Ranges) -> Ranges:
    return {name: (low, high) for name, (low, high) in found.items() if math.isfinite(low) and math.isfinite(high)}


def histograms_of(model: ModelProto, batches: Batches, load: Open, extremes: Ranges) -> dict[str, Histogram]:
    """How the values of tensors lie between their extremes: a second pass, with a few tensors at a time."""
    histograms = {name: Histogram(low, high) for name, (low, high) in extremes.items()}
    for names in in_groups(model, list(histograms), batches, load):
        for values in values_of(model, names, batches, load):
            for name, seen in values.items():
                histograms[name].add(seen)
    return histograms


def merged_all(batches: Iterable[Ranges], merge: Merge) -> Ranges:
    found: Ranges = {}
    for batch in batches:
        merged(found, batch, merge)
    return found
