"""What became of each layer: how it is stored now, and how far its output has moved from the original's."""

import contextlib
import itertools
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from whetstone.calibration.session import Session
from whetstone.contract.insights import LayerNoise
from whetstone.contract.reports import LayerFate
from workers.engine.graph.graph import Array, Graph, attribute, name_of
from workers.engine.graph.layers import Layer, layers_of, parameters_of
from workers.engine.graph.macs import macs_by_node
from workers.engine.graph.storage import elements
from workers.engine.measure.feed import Feed

SAMPLES = 16
LARGEST_BATCH = 64
"""Beyond this the outputs of all layers together may not fit in memory."""

FUSED = 3
"""A layer, a batch-norm and an activation may be made one."""

Floats = NDArray[np.float64]

BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "float64": 64, "int8": 8, "uint8": 8, "int4": 4, "uint4": 4}
PACKED = ("MatMulNBits",)
"""Ops that hold several weights in a byte."""


def fates(original: Graph, result: Graph, feed: Feed, scratch: Path) -> tuple[LayerFate, ...]:
    """A row for each layer of the original, in the order they run."""
    layers, macs, noise = layers_of(original), macs_by_node(original), moved(original, result, feed, scratch)
    now = {layer.name: layer for layer in layers_of(result)}
    points = {parameter.name: parameter.zero_point for parameter in parameters_of(result)}
    return tuple(
        _fate(original, result, layer, macs.get(layer.name), _again(layer, now), points, noise.get(layer.name))
        for layer in layers
    )


def noise_of(before: Graph, after: Graph, feed: Feed, scratch: Path) -> tuple[LayerNoise, ...]:
    """What a pass did to the output of each layer of the graph before it, in the order they run."""
    found = moved(before, after, feed, scratch)
    return tuple(
        LayerNoise(name=layer.name, sqnr_db=noise if math.isfinite(noise) else None)
        for layer in layers_of(before)
        if (noise := found.get(layer.name)) is not None
    )


def _again(layer: Layer, now: Mapping[str, Layer]) -> Layer | None:
    """The layer in the result: by its name, or by that of its weight, which a quantizer lengthens."""
    longer = (other for other in now.values() if other.weight.startswith(f"{layer.weight}_"))
    return now.get(layer.name) or next(longer, None)


def _fate(
    original: Graph,
    result: Graph,
    layer: Layer,
    macs: int | None,
    again: Layer | None,
    points: Mapping[str, Array],
    noise: float | None,
) -> LayerFate:
    return LayerFate(
        name=layer.name,
        op=layer.op,
        params=elements(original.constants[layer.weight]),
        macs=macs,
        bits=None if again is None else _bits(result, again),
        sparsity=None if again is None or again.op in PACKED else _sparsity(result, again, points),
        sqnr_db=noise if noise is not None and math.isfinite(noise) else None,
        same=noise == math.inf,
    )


def _bits(graph: Graph, layer: Layer) -> int | None:
    node = graph.find(layer.name)
    if node is not None and layer.op in PACKED:
        return attribute(node, "bits", 4)
    return BITS.get(graph.dtype(layer.weight))


def _sparsity(graph: Graph, layer: Layer, points: Mapping[str, Array]) -> float:
    zero = points.get(layer.weight, np.zeros(()))
    return float(np.mean(graph.weight(layer.weight) == zero))


def moved(original: Graph, result: Graph, feed: Feed, scratch: Path) -> dict[str, float]:
    """Signal to noise of each layer's output that both graphs have, in dB; infinite where it is the same.

    Empty where the graphs cannot be run that way: a table must not cost the delivery.
    """
    if feed.batch_size > LARGEST_BATCH:
        return {}
    shared = dict(_shared(original, result))
    signal, noise = dict.fromkeys(shared, 0.0), dict.fromkeys(shared, 0.0)
    few = replace(feed, at_most=SAMPLES)
    with contextlib.suppress(Exception):  # onnxruntime's exceptions share no base class
        one = _watched(original, [before for before, _ in shared.values()], scratch)
        other = _watched(result, [after for _, after in shared.values()], scratch)
        for batch in itertools.islice(few.batches(), SAMPLES):
            before, after = one.run(batch.inputs), other.run(batch.inputs)
            for name, was, now in _comparable(shared, before, after):
                signal[name] += float(np.square(was).sum())
                noise[name] += float(np.square(was - now).sum())
    return {name: _decibel(signal[name], noise[name]) for name in shared if signal[name] > 0}


def _shared(original: Graph, result: Graph) -> Iterator[tuple[str, tuple[str, str]]]:
    """By layer, the tensor that is compared, as either graph calls it."""
    makers = {name_of(node): node for node in original.nodes}
    for layer in layers_of(original):
        tensor = _kept(original, result, makers[layer.name].output[0])
        if tensor is not None:
            yield layer.name, (tensor, _rounded(result, tensor))


def _kept(original: Graph, result: Graph, tensor: str) -> str | None:
    """The layer's output, or that of the activation behind it where a pass has made one of the two."""
    for _ in range(FUSED):
        if result.producer(tensor) is not None:
            return tensor
        readers = original.consumers(tensor)
        if len(readers) != 1:
            return None
        tensor = readers[0].output[0]
    return None


def _rounded(result: Graph, tensor: str) -> str:
    """What the next layer reads: behind a QuantizeLinear, which may also stand for the activation, its value again."""
    for op in ("QuantizeLinear", "DequantizeLinear"):
        readers = result.consumers(tensor)
        if len(readers) != 1 or readers[0].op_type != op:
            return tensor
        tensor = readers[0].output[0]
    return tensor


def _decibel(signal: float, noise: float) -> float:
    return 10 * math.log10(signal / noise) if noise else math.inf


def _watched(graph: Graph, tensors: list[str], scratch: Path) -> Session:
    """A session that also gives these tensors."""
    outputs = graph.model.graph.output
    given = [output.name for output in outputs]
    more = (tensor for tensor in dict.fromkeys(tensors) if tensor not in given)
    outputs.extend(helper.make_empty_tensor_value_info(tensor) for tensor in more)
    try:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            graph.save(Path(folder) / "watched.onnx")
            return Session(Path(folder) / "watched.onnx")
    finally:
        del outputs[len(given) :]


def _comparable(
    shared: Mapping[str, tuple[str, str]], before: Mapping[str, Array], after: Mapping[str, Array]
) -> Iterator[tuple[str, Floats, Floats]]:
    """By layer, where both are numbers of one shape: a cut layer has fewer channels."""
    for name, (one, other) in shared.items():
        was, now = before[one], after[other]
        if was.shape == now.shape and was.dtype.kind == now.dtype.kind == "f":
            wide = was.astype(np.float64), now.astype(np.float64)
            if np.isfinite(wide[0]).all() and np.isfinite(wide[1]).all():
                yield name, *wide
