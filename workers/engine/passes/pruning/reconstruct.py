"""After a cut, fit what is left to what the original computes, layer by layer (He et al. 2017, Luo et al. 2017)."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from workers.engine.data.samples import Samples
from workers.engine.graph.channels.groups import Channels
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.graph import Array, Graph, attribute, name_of
from workers.engine.graph.ops.node import decode
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.pruning.least_squares import Rows, Sums, fit, windows, with_one
from workers.engine.passes.runs import Runs, measure_statistics
from workers.engine.passes.sensitivity import feeds

MOST_FEATURES = 5000
"""Layers that sum over more inputs are not fitted: the sums would take hundreds of megabytes."""
ROWS_PER_FEATURE = 4
HELD_OUT = 5
"""Every fifth batch, from the first, judges the fit instead of taking part in it."""
SPATIAL = (3, 4)
FITTED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class _Layer:
    """A layer that takes less in than it did: where its weight and bias are, and which outputs it still has."""

    node: NodeProto
    weight: str
    bias: str | None
    bias_is_added: bool
    kept: Array


def _as_matrix(layer: _Layer, weight: Array) -> Rows:
    """[features, outputs]."""
    values = weight.astype(np.float64)
    if layer.node.op_type == "Conv":
        return values.reshape(len(values), -1).T
    return values.T if attribute(layer.node, "transB", 0) else values


def _from_matrix(layer: _Layer, matrix: Rows, like: Array) -> Array:
    turned = layer.node.op_type == "Conv" or attribute(layer.node, "transB", 0)
    return np.ascontiguousarray((matrix.T if turned else matrix).reshape(like.shape), like.dtype)


def _bias(graph: Graph, node: NodeProto, outputs: int) -> tuple[str | None, bool]:
    """The constant that is added to a layer's outputs, inside it or by the Add behind it, if no one else reads it."""
    inside = node.input[2] if len(node.input) > 2 else ""  # noqa: PLR2004 - the third input
    readers = graph.consumers(node.output[0])
    behind = [n for n in readers[0].input if n in graph.constants] if [r.op_type for r in readers] == ["Add"] else []
    name = inside or (behind[0] if behind else "")
    if name not in graph.constants or graph.constants[name].dims != [outputs] or len(graph.consumers(name)) > 1:
        return None, False
    return name, not inside


def _layer(channels: Channels, after: Graph, node: NodeProto, gone: Collection[int]) -> _Layer | None:
    """Raises nothing: what cannot be fitted is None."""
    own = [each for each in channels.slices if each.site.node == node.output[0]]
    takes_less = any(each.site.role is Role.IN and np.isin(each.units, list(gone)).any() for each in own)
    if node.op_type not in FITTED or not takes_less or node.input[1] not in after.constants:
        return None
    weight = node.input[1]
    if len(after.consumers(weight)) > 1 or after.dtype(weight) != "float32" or not _is_plain(node, after):
        return None
    outputs = next((~np.isin(each.units, list(gone)) for each in own if each.site.role is Role.OUT), None)
    if outputs is None:
        return None
    bias, added = _bias(after, node, int(outputs.sum()))
    return _Layer(node, weight, bias, added, outputs)


def _is_plain(node: NodeProto, graph: Graph) -> bool:
    """Whether the output is windows of the input times the weight, and no more."""
    rank = len(graph.constants[node.input[1]].dims)
    scales = [a.f for a in node.attribute if a.name in {"alpha", "beta"}]
    automatic = any(a.name == "auto_pad" and a.s not in {b"NOTSET", b"VALID"} for a in node.attribute)
    is_conv = node.op_type == "Conv"
    return (
        all(scale == 1 for scale in scales)
        and not automatic
        and (rank in SPATIAL if is_conv else rank == SPATIAL[0] - 1)
    )


def _rows(layer: _Layer, graph: Graph, x: Array, y: Array, count: int) -> tuple[Array, Array]:
    """Up to `count` rows of a batch: what the layer takes in, and what it should make of it."""
    if layer.node.op_type == "Conv":
        kernel = tuple(graph.constants[layer.weight].dims[2:])
        seen = windows(decode(layer.node, graph.opset), x, kernel)
        x = seen.reshape(-1, seen.shape[-1])
        y = np.moveaxis(y, 1, -1)
    x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])[:, layer.kept]
    if len(x) > count:
        rows = np.random.default_rng(len(x)).choice(len(x), count, replace=False)
        x, y = x[rows], y[rows]
    return (x if layer.bias is None else with_one(x)), y


def _start(layer: _Layer, graph: Graph) -> Rows:
    """The weights as the cut left them, with the bias as a last row. An Add behind the layer starts from no change."""
    matrix = _as_matrix(layer, np.asarray(graph.weight(layer.weight)))
    if layer.bias is None:
        return matrix
    bias = np.zeros(matrix.shape[1]) if layer.bias_is_added else graph.weight(layer.bias).astype(np.float64)
    return np.vstack([matrix, bias])


def _write(layer: _Layer, graph: Graph, found: Rows) -> None:
    old = np.asarray(graph.weight(layer.weight))
    if layer.bias is not None:
        bias = found[-1] + (graph.weight(layer.bias) if layer.bias_is_added else 0)
        graph.set_weight(layer.bias, bias.astype(np.float32))
        found = found[:-1]
    graph.set_weight(layer.weight, _from_matrix(layer, found, old))


def _refit(layer: _Layer, before: Graph, after: Graph, runs: Runs) -> bool:
    """Fit one layer in place, if that is better on batches held out. Returns whether it was."""
    start = _start(layer, after)
    if start.shape[0] > MOST_FEATURES:
        return False
    wanted = -(-ROWS_PER_FEATURE * start.shape[0] // runs.samples)
    learned, judged = Sums(*start.shape), Sums(*start.shape)
    inputs = runs.values(after, layer.node.input[0])
    targets = runs.values(before, layer.node.output[0])
    for number, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        sums = learned if number % HELD_OUT else judged
        sums.add(*_rows(layer, after, x, y, wanted * len(x)))
    if not learned.rows:
        return False
    found = fit(learned, start)
    if not np.isfinite(found).all() or judged.error(found) >= judged.error(start):
        return False
    _write(layer, after, found)
    return True


def _moved(before: Graph, after: Graph) -> set[str]:
    """The tensors that a cut may have changed: what cut layers make, and all that follows."""
    moved: set[str] = set()
    for node in after.nodes:
        cut = any(n in before.constants and n in after.constants
                  and before.constants[n].dims != after.constants[n].dims for n in node.input)  # fmt: skip
        if cut or moved.intersection(node.input):
            moved.update(node.output)
    return moved


def reconstruct(
    channels: Channels, after: Graph, gone: Collection[int], data: Samples, count: int, context: Context
) -> tuple[str, ...]:
    """Fit the layers of `after` in place, in the order they run, each to the original's outputs from inputs as they
    are by then; measure batch-norm statistics anew. Returns what was done, in words.
    """
    runs = Runs(feeds(channels.graph, data, count), context.scratch)
    moved, nodes = _moved(channels.graph, after), after.nodes
    fitted = tried = measured = 0
    for number, node in enumerate(nodes):
        layer = _layer(channels, after, node, gone)
        if layer is not None:
            tried, fitted = tried + 1, fitted + _refit(layer, channels.graph, after, runs)
            context.tell(0.5 + 0.5 * number / len(nodes), f"fitted '{name_of(node)}'", {})
        elif node.op_type == "BatchNormalization" and moved.intersection(node.input[:1]):
            measure_statistics(node, after, runs)
            measured += 1
    told = f"{fitted} of {tried} layers behind a cut were fitted again on {runs.samples} samples"
    return (f"{told}; {measured} batch-norms were measured anew." if measured else f"{told}.",)
