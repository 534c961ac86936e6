"""The ways to make integers of a graph: computing in them with static or dynamic ranges, or weights in blocks alone."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from time import monotonic

from whetstone.contract.datasets import Split
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import Curve, LayerChange
from workers.engine.graph.edit import drop_unread
from workers.engine.graph.graph import Graph, name_of
from workers.engine.graph.layers import Layer, layers_of
from workers.engine.passes.errors import NothingToDo
from workers.engine.passes.graph_pass import Outcome
from workers.engine.passes.quantizing.corrections import Build, Corrected, Relearn
from workers.engine.passes.quantizing.integer import change_of, learned_integers, quantizable
from workers.engine.passes.quantizing.moments import Floats, Linear
from workers.engine.passes.quantizing.partial import Found, Judge, Search
from workers.engine.passes.quantizing.prepared import Prepared
from workers.engine.passes.quantizing.quantizer import (
    NVIDIA_OPS,
    activation_type,
    ops_with_integer_form,
    quantize_dynamic,
    quantize_static,
)
from workers.engine.passes.quantizing.ranges import with_shapes, without_range
from workers.engine.passes.quantizing.rounding import Learned
from workers.engine.passes.quantizing.smooth import read_unrounded
from workers.engine.passes.quantizing.speed import quicker_in_float
from workers.engine.passes.quantizing.stored import inner_layers, stored
from workers.engine.passes.quantizing.weight_only import learned_blocks, store_in_blocks, why_not

NO_LIMIT = "Partial quantization could not keep its limit of {limit:g} points: {drop:.2f} are lost. Nearest miss kept."
ONLY_LAYERS = "Only products and convolutions are quantized: the other operators as well lost more than the limit."

Sensitive = dict[str, str]
"""Why layers are spared, by name."""


@dataclass(frozen=True)
class Kind:
    """How to build such a graph, how to learn the rounding of a layer in it, and what to say of it.

    `change` tells what became of a layer in a graph that was built, `layers` names those that can be quantized, and
    `others` nodes that are quantized too, though there is little to gain: no products, no convolutions.
    """

    build: Build
    relearn: Relearn
    change: Callable[[Layer, Graph, Sensitive], LayerChange]
    layers: tuple[str, ...]
    what: str
    others: tuple[str, ...] = ()


def with_static_ranges(prepared: Prepared, config: Quantize) -> Kind:
    """Q/DQ pairs with ranges from the calibration samples, or from statistics of them."""
    ranges = prepared.ranges(config)
    _keep_unbounded(prepared, without_range(with_shapes(prepared.graph), ranges))

    def build(ready: Graph, kept: Sequence[str], only: Sequence[str]) -> Graph:
        exclude, scratch = [*prepared.reasons, *kept], prepared.context.scratch
        made = quantize_static(with_shapes(ready), ranges, config, exclude=exclude, only=only, scratch=scratch)
        after = Graph(made, upgraded_from=ready.upgraded_from)
        read_unrounded(ready, after, prepared.muls)
        return after

    return _computing(prepared, config, build, f"static {activation_type(config)}")


def with_dynamic_ranges(prepared: Prepared, config: Quantize) -> Kind:
    """Integer operators whose ranges are found at run time."""

    def build(ready: Graph, kept: Sequence[str], only: Sequence[str]) -> Graph:
        others = [layer.name for layer in layers_of(ready) if only and layer.name not in only]
        exclude, scratch = [*prepared.reasons, *kept, *others], prepared.context.scratch
        made = quantize_dynamic(with_shapes(ready), per_channel=config.per_channel, exclude=exclude, scratch=scratch)
        return Graph(made, upgraded_from=ready.upgraded_from)

    return _computing(prepared, config, build, "dynamic uint8")


def _computing(prepared: Prepared, config: Quantize, build: Build, activations: str) -> Kind:
    graph = prepared.graph
    light = set(ops_with_integer_form(config.form)) - set(NVIDIA_OPS)
    if config.only_faster:
        free = [*_quantizable(prepared, config), *(_without_weights(prepared, light) if config.is_static else ())]
        prepared.reasons |= quicker_in_float(prepared, lambda kept: build(graph, kept, ()), free)

    def relearn(form: Linear, moments: Floats, after: Graph) -> Learned | None:
        return learned_integers(form, moments, graph, after)

    def change(layer: Layer, after: Graph, spared: Sensitive) -> LayerChange:
        return change_of(layer, graph, after, config, spared | prepared.reasons)

    names = _quantizable(prepared, config)
    others = _without_weights(prepared, light) if config.is_static else ()
    return Kind(build, relearn, change, names, f"int8 weights and {activations} activations", others)


def _quantizable(prepared: Prepared, config: Quantize) -> tuple[str, ...]:
    free = [layer for layer in prepared.free_layers() if layer.op in quantizable(config)]
    return tuple(layer.name for layer in free if prepared.graph.dtype(layer.weight) == "float32")


def _without_weights(prepared: Prepared, ops: Collection[str]) -> tuple[str, ...]:
    layers = {layer.name for layer in layers_of(prepared.graph)}
    names = (name_of(node) for node in prepared.graph.nodes if node.op_type in ops)
    return tuple(name for name in names if name not in layers and name not in prepared.reasons)


def _keep_unbounded(prepared: Prepared, tensors: frozenset[str]) -> None:
    for node in prepared.graph.nodes:
        touched = tensors.intersection([*node.input, *node.output])
        if touched:
            reason = f"'{min(touched)}' is a mask, or becomes infinite on calibration samples"
            prepared.reasons.setdefault(name_of(node), reason)


def in_blocks(prepared: Prepared, config: Quantize, bits: int) -> Kind:
    """Weights of matrix products in blocks. What is spared of 4 bits gets 8, and what is spared of 8 stays in float."""
    graph, size = prepared.graph, config.block_size
    reasons = {layer.name: prepared.reasons.get(layer.name) or why_not(graph, layer) for layer in layers_of(graph)}
    names = tuple(name for name, reason in reasons.items() if reason is None)
    gentler = 8 if bits == 4 else None  # noqa: PLR2004 - bits

    def build(ready: Graph, kept: Sequence[str], only: Sequence[str]) -> Graph:
        after = ready.copy()
        for layer in layers_of(ready):
            wanted = gentler if layer.name in kept else bits
            if layer.name in (only or names) and wanted is not None:
                store_in_blocks(after, layer, wanted, size)
        drop_unread(after)
        return after

    def relearn(form: Linear, moments: Floats, _after: Graph) -> Learned | None:
        return learned_blocks(form, moments, graph, bits, size) if form.layer.name in names else None

    def change(layer: Layer, _after: Graph, spared: Sensitive) -> LayerChange:
        if layer.name in spared and gentler is not None:
            return stored(layer, f"int{gentler} in blocks of {size}, since {spared[layer.name]}", None)
        return stored(layer, f"int{bits} in blocks of {size}", spared.get(layer.name) or reasons[layer.name])

    return Kind(build, relearn, change, names, f"int{bits} in blocks of {size}")


def quantized(original: Graph, prepared: Prepared, config: Quantize, kind: Kind) -> Outcome:
    """Build the graph, corrected and with as many layers spared as asked for. Raises NothingToDo if none changed."""
    corrected = Corrected(prepared, config, kind.build, kind.relearn, kind.layers)
    found = _search(original, prepared, config, kind, corrected)
    after = corrected() if found is None else found.graph
    spared = _spared(found)
    changes = [kind.change(layer, after, spared) for layer in layers_of(prepared.graph)] + inner_layers(prepared.graph)
    count = sum(change.kept_because is None for change in changes)
    if not count:
        raise NothingToDo("No layer could be quantized: " + (changes[0].kept_because or ""))
    summary = f"Quantized {count} of {len(changes)} layers to {kind.what}."
    changes += corrected.changes(() if found is None else found.kept)
    return Outcome(after, summary, tuple(changes), _curves(found), _told(found, config, kind))


def _search(original: Graph, prepared: Prepared, config: Quantize, kind: Kind, corrected: Corrected) -> Found | None:
    """Which layers to spare; None where none are to be."""
    if config.partial is None:
        return None
    context, calibration = prepared.context, prepared.samples
    samples = calibration.samples
    largest = float(samples.labels(Split.CALIBRATION).max()) if samples.has_labels(Split.CALIBRATION) else 0.0
    judge = Judge(
        original,
        lambda: calibration.batches(labels=True),
        largest,
        context.scratch,
        context.threads,
        config.partial.metric,
    )
    names = list(dict.fromkeys(kind.layers))

    started = monotonic()

    def say(share: float, what: str) -> None:
        left = (monotonic() - started) * (1 - share) / share if share else 0.0
        context.tell(0.4 + 0.6 * share, f"{what}; at most {left:.0f} s left" if left else what, {"seconds_left": left})

    search = Search(config.partial, judge, corrected, lambda name: corrected(only=(name,)), say)
    return search.run(names, kind.others)


def _spared(found: Found | None) -> Sensitive:
    kept, noise = (found.kept, found.noise) if found is not None else ((), {})
    return {name: f"alone it brings a relative error of {noise[name]:.2g}" for name in kept if name in noise}


def _told(found: Found | None, config: Quantize, kind: Kind) -> tuple[str, ...]:
    if found is None or config.partial is None:
        return ()
    others = ONLY_LAYERS if set(kind.others) & set(found.kept) else ""
    missed = "" if found.met else NO_LIMIT.format(limit=config.partial.max_drop, drop=found.drop)
    return tuple(filter(None, (others, missed)))


def _curves(found: Found | None) -> tuple[Curve, ...]:
    """The error that each layer alone brings, most sensitive first."""
    if found is None or not found.noise:
        return ()
    ranked = sorted(found.noise.values(), reverse=True)
    x = tuple(float(number) for number in range(1, len(ranked) + 1))
    return (Curve(name="sensitivity", x_label="layer", y_label="relative error", x=x, y=tuple(ranked)),)
