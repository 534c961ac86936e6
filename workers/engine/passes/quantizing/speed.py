"""Which nodes stay in float because the model is quicker so: tried out on onnxruntime, on this machine."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from onnx import NodeProto

from whetstone.calibration.session import Session
from whetstone.contract.datasets import Split
from workers.engine.data.fit import fixed_at_one
from workers.engine.graph.graph import Array, Graph, attribute, name_of
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.measure.quick import Call, compare_briefly
from workers.engine.passes.checks import probes
from workers.engine.passes.errors import NeedsDataset
from workers.engine.passes.quantizing.prepared import Prepared

MOST_TRIALS = 24
MOST_SECONDS = 30.0
"""For all trials together: building a large model takes longer than timing it. What was not tried becomes integers."""

ROUNDS = 15
SECONDS = 0.6
GAIN = 1.02
"""How much quicker the model must be for nodes to stay in float: less may be noise."""

GAIN_FOR_WEIGHTS = 0.5
"""How much quicker on top of it, times the share of the weights that would stay: they take four times the bytes."""

Build = Callable[[Sequence[str]], Graph]
"""Quantize all nodes but those named."""


@dataclass(frozen=True)
class Part:
    """Nodes that are tried together, by name, what they are, and the share of the weights that they hold."""

    what: str
    nodes: tuple[str, ...]
    weights: float = 0.0

    @property
    def needed(self) -> float:
        """How many times as fast the model must be with these in float."""
        return GAIN + GAIN_FOR_WEIGHTS * self.weights


def quicker_in_float(prepared: Prepared, build: Build, nodes: Sequence[str]) -> dict[str, str]:
    """Why nodes stay in float, by name, of those named, which are the ones that would be quantized.

    Parts of the graph are tried one after the other, each on top of those found before, at most `MOST_TRIALS` of them
    and for `MOST_SECONDS`: one more conversion between integers and floats may cost more than the integers gain, and
    only the whole model's time tells. Raises NeedsDataset where there are no inputs to time it with.
    """
    end = time.monotonic() + MOST_SECONDS
    found = _Found(build, _inputs(prepared), prepared.context.scratch, prepared.context.threads)
    parts = list(_parts(prepared.graph, frozenset(nodes)))[:MOST_TRIALS]
    for number, part in enumerate(parts):
        if time.monotonic() > end:
            break
        told = f"Timed {part.what} in float: {number + 1} of {len(parts)}"
        found.consider(part)
        prepared.context.tell(0.4 + 0.2 * number / len(parts), told, {})
    return found.reasons


def _inputs(prepared: Prepared) -> dict[str, Array]:
    graph, calibration = prepared.graph, prepared.calibration
    if calibration is not None:
        size = 1 if fixed_at_one(graph.inputs) else prepared.context.batch_size
        return next(calibration.samples.batches(Split.CALIBRATION, size)).inputs
    made_up = probes(graph, None)
    if not made_up:
        raise NeedsDataset("Timing needs inputs, and this model's cannot be made up.", hint="Or leave out only_faster.")
    return made_up[0]


@dataclass
class _Found:
    """The quickest graph so far, and what it leaves in float."""

    build: Build
    inputs: dict[str, Array]
    scratch: Path
    threads: int
    reasons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._quickest = self._call(())

    def _call(self, kept: Sequence[str]) -> Call:
        path = self.scratch / "timed.onnx"
        self.build(kept).save(path)
        session = Session(path, threads=self.threads)
        for part in path.parent.glob(f"{path.name}*"):  # weights of 2 GiB and more lie beside it
            part.unlink()
        return partial(session.run, self.inputs)

    def _gain(self, call: Call) -> float:
        return compare_briefly(self._quickest, call, ROUNDS, SECONDS).ratio

    def consider(self, part: Part) -> None:
        """What seems to gain is timed twice: of many parts one may seem so by chance."""
        new = [name for name in part.nodes if name not in self.reasons]
        if not new:
            return
        call = self._call([*self.reasons, *new])
        gain = self._gain(call)
        if gain >= part.needed and (gain := min(gain, self._gain(call))) >= part.needed:
            self._quickest = call
            why = f"the model runs {gain:.2f} times as fast with {part.what} in float"
            self.reasons |= dict.fromkeys(new, why)


def _parts(graph: Graph, nodes: frozenset[str]) -> Iterator[Part]:
    """Operators without weights, by kind; depthwise convolutions; the beginning, up to half of it; and layers of one
    shape, those with the fewest weights first, since integers gain least there.
    """
    layers = {layer.name: layer for layer in layers_of(graph) if layer.name in nodes}
    total = sum(map(_weights, layers.values()))

    def part(what: str, names: Sequence[str]) -> Part:
        return Part(what, tuple(names), sum(_weights(layers[name]) for name in names if name in layers) / max(total, 1))

    free = {name_of(node): node for node in graph.nodes if name_of(node) in nodes}
    light: dict[str, list[str]] = defaultdict(list)
    alike: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, node in free.items():
        if name in layers:
            alike[_shape(node, layers[name])].append(name)
        else:
            light[node.op_type].append(name)
    yield from (part(f"every {op}", names) for op, names in sorted(light.items()))
    depthwise = [name for name, layer in layers.items() if _is_depthwise(free[name], layer)]
    if depthwise:
        yield part("every depthwise convolution", depthwise)
    yield from (part(what, names) for what, names in _beginnings(list(free), list(layers)))
    for names in sorted(alike.values(), key=lambda found: _weights(layers[found[0]])):
        if len(names) < len(layers):
            yield part(_like(names), names)


def _shape(node: NodeProto, layer: Layer) -> tuple[object, ...]:
    return layer.op, layer.shape, *sorted(given.SerializeToString() for given in node.attribute)


def _weights(layer: Layer) -> int:
    return math.prod(layer.shape)


def _is_depthwise(node: NodeProto, layer: Layer) -> bool:
    groups = attribute(node, "group", 1)
    return layer.op == "Conv" and groups > 1 and groups == layer.shape[0]


def _beginnings(nodes: Sequence[str], layers: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """All nodes up to the 1st, 2nd, 4th, 8th … layer."""
    count = 1
    while 2 * count <= len(layers):
        end = nodes.index(layers[count - 1]) + 1
        yield ("the first layer" if count == 1 else f"the first {count} layers"), nodes[:end]
        count *= 2


def _like(names: Sequence[str]) -> str:
    one = f"'{names[0]}'"
    return one if len(names) == 1 else f"the {len(names)} layers like {one}"
