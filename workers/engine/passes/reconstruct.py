"""After a cut, fit what is left to what the original computes, layer by layer (He et al. 2017, Luo et al. 2017)."""

import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, helper

from workers.engine.data.samples import Samples
from workers.engine.graph.channels.groups import Channels
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.graph import Array, Graph, attribute, name_of
from workers.engine.graph.ops.node import decode
from workers.engine.graph.session import Session
from workers.engine.graph.tensors import nodes_within
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.reconstruct_fit import Rows, Sums, fit, windows, with_one
from workers.engine.passes.sensitivity import feeds

MOST_FEATURES = 5000
"""Layers that sum over more inputs are not fitted: the sums would take hundreds of megabytes."""
ROWS_PER_FEATURE = 4
HELD_OUT = 5
"""Every fifth batch, from the first, judges the fit instead of taking part in it."""
MEAN, VARIANCE = 3, 4
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


def _probe(graph: Graph, tensor: str, folder: Path) -> tuple[Session, set[str]]:
    """A session that computes one tensor of the graph, and nothing beyond it; and the tensors that this takes."""
    needed, kept = {tensor}, []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(name for inner in nodes_within(iter([node])) for name in inner.input)
    model = ModelProto(ir_version=graph.model.ir_version, opset_import=graph.model.opset_import)
    model.functions.extend(graph.model.functions)
    model.graph.name = "probe"
    model.graph.node.extend(reversed(kept))
    model.graph.input.extend(value for value in graph.model.graph.input if value.name in needed)
    model.graph.initializer.extend(each for each in graph.model.graph.initializer if each.name in needed)
    model.graph.output.append(helper.make_empty_tensor_value_info(tensor))
    path = folder / "probe.onnx"
    Graph(model).save(path)
    return Session(path), needed


class _Runs:
    """The calibration data, run through a graph up to a tensor."""

    def __init__(self, inputs: list[dict[str, Array]], scratch: Path) -> None:
        self._inputs, self._scratch = inputs, scratch
        self.samples = sum(len(next(iter(feed.values()))) for feed in inputs)

    def values(self, graph: Graph, tensor: str) -> Iterator[Array]:
        """The tensor's value for each batch."""
        if tensor in self._inputs[0]:
            yield from (feed[tensor] for feed in self._inputs)
            return
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            session, needed = _probe(graph, tensor, Path(folder))
            for feed in self._inputs:
                yield session.run({name: value for name, value in feed.items() if name in needed})[tensor]


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


def _refit(layer: _Layer, before: Graph, after: Graph, runs: _Runs) -> bool:
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


def _measure_statistics(node: NodeProto, graph: Graph, runs: _Runs) -> None:
    """Give a batch-norm the mean and variance that its input has now."""
    count, total, square = 0, np.zeros(()), np.zeros(())
    for value in runs.values(graph, node.input[0]):
        axes = tuple(axis for axis in range(value.ndim) if axis != 1)
        wide = value.astype(np.float64)
        count += wide.size // wide.shape[1]
        total, square = total + wide.sum(axes), square + np.square(wide).sum(axes)
    mean = total / count
    variance = np.maximum(square / count - np.square(mean), 0)
    graph.set_weight(node.input[MEAN], mean.astype(np.float32))
    graph.set_weight(node.input[VARIANCE], variance.astype(np.float32))


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
    runs = _Runs(feeds(channels.graph, data, count), context.scratch)
    moved, nodes = _moved(channels.graph, after), after.nodes
    fitted = tried = measured = 0
    for number, node in enumerate(nodes):
        layer = _layer(channels, after, node, gone)
        if layer is not None:
            tried, fitted = tried + 1, fitted + _refit(layer, channels.graph, after, runs)
            context.tell(0.5 + 0.5 * number / len(nodes), f"fitted '{name_of(node)}'", {})
        elif node.op_type == "BatchNormalization" and moved.intersection(node.input[:1]):
            _measure_statistics(node, after, runs)
            measured += 1
    told = f"{fitted} of {tried} layers behind a cut were fitted again on {runs.samples} samples"
    return (f"{told}; {measured} batch-norms were measured anew." if measured else f"{told}.",)
