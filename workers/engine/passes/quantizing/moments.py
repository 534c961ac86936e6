"""Second moments of what layers read, streamed: E[xxᵀ] is all that the squared error of a linear layer depends on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whetstone.calibration.arrays import Batches
from whetstone.calibration.watching import in_portions
from workers.engine.graph.graph import Array, Graph, attribute
from workers.engine.graph.layers import Layer
from workers.engine.graph.ops.node import Node, decode
from workers.engine.graph.ops.windows import window_of
from workers.engine.graph.readers import is_read_once
from workers.engine.passes.quantizing.ranges import with_shapes
from workers.engine.passes.quantizing.watching import in_groups, values_of

WIDEST = 6144
"""Inputs per output, beyond which moments and their inverse would take gigabytes."""
TOGETHER = 128 * 2**20
"""Elements of moments that are kept at once."""
ROWS = 2048
"""Rows or windows of a batch that are looked at, evenly spaced."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """A layer as a product: for each group, outputs [O, K] · inputs [K]."""

    layer: Layer
    node: Node
    groups: int
    width: int

    @property
    def reads(self) -> str:
        return self.node.inputs[0]

    @property
    def turned(self) -> bool:
        """Whether the weight is stored as [K, O]."""
        return self.node.op == "MatMul" or (self.node.op == "Gemm" and not self.node.get("transB", 0))


def linear_form(graph: Graph, layer: Layer) -> Linear | str:
    """The layer as a product, or why it has no such form."""
    node = graph.find(layer.name)
    if node is None or node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] != layer.weight:
        return f"the error of a {layer.op} does not follow from one product"
    matrix = node.op_type == "Conv" or len(layer.shape) == 2  # noqa: PLR2004 - a matrix
    if not matrix or attribute(node, "transA", 0) or node.input[0] in graph.constants:
        return "its weight is no matrix, or its input is turned"
    if not is_read_once(graph, layer.weight):
        return "its weight is shared"
    groups = attribute(node, "group", 1) if node.op_type == "Conv" else 1
    turned = node.op_type == "Conv" or attribute(node, "transB", 0)
    width = int(np.prod(layer.shape[1:])) if turned else layer.shape[0]
    if width > WIDEST:
        return f"its {width} inputs per output are too many to hold their moments in memory"
    return Linear(layer, decode(node, graph.opset), groups, width)


def rows_of(form: Linear, values: Array) -> Tensor:
    """What a layer multiplies its weights with, [rows, groups, K], for values that it reads; at most ROWS rows."""
    x = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    if form.node.op != "Conv":
        flat = x.reshape(-1, 1, x.shape[-1])
        return flat[_places(len(flat), ROWS)]
    each = max(1, ROWS // len(x))
    return torch.cat([_windows(form, x[index : index + 1], each) for index in range(len(x))])


def _places(count: int, wanted: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, wanted)).long()


def _windows(form: Linear, x: Tensor, wanted: int) -> Tensor:
    """Windows of a convolution over x [1, C, *spatial] as rows [≤ wanted, groups, C / groups · kernel]."""
    window = window_of(form.node, x, list(form.layer.shape[2:]))
    padded = window.padded(x)[0]
    sizes = zip(padded.shape[1:], window.kernel, window.strides, window.dilations, strict=True)
    counts = [(size - (kernel - 1) * dilation - 1) // stride + 1 for size, kernel, stride, dilation in sizes]
    places = torch.unravel_index(_places(int(np.prod(counts)), wanted), tuple(counts))
    starts = [place * stride for place, stride in zip(places, window.strides, strict=True)]
    taken = []
    for offset in product(*(range(kernel) for kernel in window.kernel)):
        steps = zip(starts, offset, window.dilations, strict=True)
        spots: list[slice | Tensor] = [slice(None), *(start + at * dilation for start, at, dilation in steps)]
        taken.append(padded[tuple(spots)])
    stacked = torch.stack(taken, -1)  # [C, rows, kernel]
    return stacked.transpose(0, 1).reshape(len(starts[0]), form.groups, -1)


def moments_of(
    graph: Graph, forms: Sequence[Linear], batches: Batches, scratch: Path, threads: int
) -> Iterator[tuple[Linear, Floats]]:
    """Yield E[xxᵀ] [groups, K, K] for each layer; a few are kept at once. Raises CalibrationFailed."""
    model = with_shapes(graph)
    by_tensor: dict[str, list[Linear]] = {}
    for form in forms:
        by_tensor.setdefault(form.reads, []).append(form)
    for names in in_groups(model, list(by_tensor), batches, scratch, threads):
        forms_here = [form for name in names for form in by_tensor[name]]
        for some in in_portions(forms_here, lambda form: form.groups * form.width**2, TOGETHER):
            watched = list(dict.fromkeys(form.reads for form in some))
            totals = [torch.zeros(form.groups, form.width, form.width) for form in some]
            count = [0] * len(some)
            for values in values_of(model, watched, batches, scratch, threads):
                for index, form in enumerate(some):
                    rows = rows_of(form, values[form.reads])
                    count[index] += len(rows)
                    totals[index] += torch.einsum("rgk,rgl->gkl", rows, rows)
            for form, total, rows_seen in zip(some, totals, count, strict=True):
                yield form, (total / max(rows_seen, 1)).numpy()
