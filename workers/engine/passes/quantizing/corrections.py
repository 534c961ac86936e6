"""What `quantize` does beside rounding to the nearest: to the float graph before, and to the quantized one after."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from whetstone.contract.quantization import Quantize, Rounding
from whetstone.contract.reports import LayerChange
from workers.engine.graph.graph import Graph
from workers.engine.graph.layers import Layer
from workers.engine.passes.quantizing.bias_correction import correctable, mean_errors, take_out
from workers.engine.passes.quantizing.biases import bias_of
from workers.engine.passes.quantizing.equalize import equalize, pairs_of, spread
from workers.engine.passes.quantizing.moments import Floats, Linear, linear_form, moments_of
from workers.engine.passes.quantizing.prepared import Prepared
from workers.engine.passes.quantizing.rounding import Learned
from workers.engine.passes.quantizing.smooth import Smoothed, observe, products, smooth

Build = Callable[[Graph, Sequence[str], Sequence[str]], Graph]
"""Quantize a float graph, but for the layers named first, or only those named second if any are."""
Relearn = Callable[[Linear, Floats, Graph], Learned | None]
"""Learn the rounding of one layer from its second moments, for a quantized graph."""


def even_out_channels(prepared: Prepared) -> None:
    """Cross-layer equalization, in place."""
    pairs = [p for p in pairs_of(prepared.graph) if not {p.first.name, p.second.name} & prepared.reasons.keys()]
    before = [spread(prepared.graph, pair.first) for pair in pairs]
    equalize(prepared.graph, pairs)
    for pair, old in zip(pairs, before, strict=True):
        new = spread(prepared.graph, pair.first)
        told = [f"largest channel {value:.3g} times the median" for value in (old, new)]
        prepared.changes.append(_change(pair.first, f"equalized with {pair.second.name}", *told))
    if not pairs:
        prepared.notes.append("Nothing to equalize: no two layers have only ReLU, LeakyReLU or pooling between them.")


def smooth_activations(prepared: Prepared, config: Quantize) -> None:
    """SmoothQuant, in place."""
    if config.smooth is None:
        return
    groups = products(prepared.graph, prepared.reasons)
    if not groups:
        prepared.notes.append("Nothing to smooth: no MatMul or Gemm has a constant matrix of its own.")
        return
    calibration, context = prepared.samples, prepared.context
    count = -(-calibration.count // calibration.batch_size)
    seen = observe(prepared.graph, list(groups), calibration.inputs, count, context.scratch, context.threads)
    for done in smooth(prepared.graph, groups, seen, config.smooth, per_channel=config.per_channel):
        prepared.changes += [_smoothed(layer, done) for layer in done.layers]
        if done.mul:
            prepared.muls.append(done.mul)
            prepared.reasons[done.mul] = "it spreads outliers before they are rounded"


def _smoothed(layer: Layer, done: Smoothed) -> LayerChange:
    before = f"largest input channel {done.outliers:.3g} times the median"
    if done.alpha is None:
        return _change(layer, "not smoothed", before, None, "no alpha lowers the error at its output enough")
    where = f"folded into {done.into}" if done.into else f"by a Mul of its own, {done.mul}"
    return _change(layer, "smoothed", before, f"alpha {done.alpha:g}, {where}")


def _change(
    layer: Layer, change: str, before: str | None, after: str | None, kept_because: str | None = None
) -> LayerChange:
    return LayerChange(
        name=layer.name, op=layer.op, change=change, before=before, after=after, kept_because=kept_because
    )


class Corrected:
    """Builds quantized graphs whose rounding is learned and whose biases are corrected, as far as is asked for."""

    def __init__(
        self, prepared: Prepared, config: Quantize, build: Build, relearn: Relearn, names: Collection[str]
    ) -> None:
        """`names` are those of the layers that can be quantized."""
        self._prepared, self._config, self._build = prepared, config, build
        self._layers = [layer for layer in prepared.free_layers() if layer.name in names]
        self._learned: dict[str, Learned] = {}
        self._stuck: dict[str, str] = {}
        self._errors: dict[tuple[str, ...], dict[str, float]] = {}
        if config.rounding is Rounding.LEARNED:
            self._learn(relearn)

    def _learn(self, relearn: Relearn) -> None:
        prepared, plain = self._prepared, self._build(self._prepared.graph, (), ())
        found = {layer.name: linear_form(prepared.graph, layer) for layer in self._layers}
        self._stuck = {name: form for name, form in found.items() if isinstance(form, str)}
        forms = [form for form in found.values() if isinstance(form, Linear)]
        batches, context = prepared.samples.inputs, prepared.context
        moments = moments_of(prepared.graph, forms, batches, context.scratch, context.threads)
        for number, (form, seen) in enumerate(moments):
            learned = relearn(form, seen, plain)
            if learned is not None:
                self._learned[form.layer.name] = learned
            context.tell(0.4 + 0.3 * number / len(forms), f"Learned the rounding of {form.layer.name}", {})

    def __call__(self, kept: Sequence[str] = (), only: Sequence[str] = ()) -> Graph:
        """Quantize. Single layers, of which the errors are compared, keep their biases."""
        graph = self._prepared.graph
        after = self._rounded(self._build(graph, kept, only), kept)
        if not self._config.bias_correction or only:
            return after
        layers = correctable(graph, [layer for layer in self._layers if layer.name not in kept])
        context, batches = self._prepared.context, self._prepared.samples.inputs
        errors = mean_errors(graph, after, layers, batches, context.scratch, context.threads)
        self._errors[tuple(kept)] = {name: float(np.abs(error).max()) for name, error in errors.items()}
        return self._rounded(self._build(take_out(graph, layers, errors), kept, only), kept)

    def _rounded(self, after: Graph, kept: Sequence[str]) -> Graph:
        for layer, learned in self._learned.items():
            for name, values in learned.constants.items():
                if layer not in kept and name in after.constants:
                    after.set_weight(name, values)
        return after

    def changes(self, kept: Sequence[str] = ()) -> list[LayerChange]:
        """What was corrected in the graph that was built with these layers kept."""
        made = []
        for layer in self._layers:
            if self._config.rounding is Rounding.LEARNED and layer.name not in kept:
                made.append(self._rounding_of(layer))
            if self._config.bias_correction and layer.name not in kept:
                made.append(self._bias_of(layer, self._errors[tuple(kept)]))
        return made

    def _rounding_of(self, layer: Layer) -> LayerChange:
        learned = self._learned.get(layer.name)
        if learned is None:
            reason = self._stuck.get(layer.name, "its integers are not stored as one constant of its own")
            return _change(layer, "rounded to nearest", None, None, reason)
        told = [f"output error {value:.3g}" for value in (learned.before, learned.after)]
        return _change(layer, "rounding learned", *told)

    def _bias_of(self, layer: Layer, errors: Mapping[str, float]) -> LayerChange:
        place = bias_of(self._prepared.graph, layer)
        if isinstance(place, str):
            return _change(layer, "bias not corrected", None, None, place)
        return _change(layer, "bias corrected", f"mean error up to {errors[layer.name]:.3g}", None)
