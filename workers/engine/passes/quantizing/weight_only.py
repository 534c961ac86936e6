"""Weights in blocks of 4 or 8 bits, each with a scale and a zero point; computing stays in float.

Written as onnxruntime's `com.microsoft.MatMulNBits`: of a product x·W with W [K, N], each column is cut into blocks of
`block_size` values. The packing is the operator's own: B [N, blocks, block_size·bits/8], scales [N·blocks], zero points
[N, ceil(blocks·bits/8)], two 4-bit numbers in a byte, the lower one first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from workers.engine.graph.graph import Array, Graph, name_of
from workers.engine.graph.layers import Layer
from workers.engine.passes.quantizing.moments import Floats, Linear
from workers.engine.passes.quantizing.rounding import Grid, Learned, learn

DOMAIN = "com.microsoft"
OPS = ("MatMul", "Gemm")
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Packed:
    """The constants of a MatMulNBits node."""

    blocks: Bytes
    scales: NDArray[np.float32]
    zero_points: Bytes


def packed(weight: NDArray[np.float32], bits: int, block_size: int) -> Packed:
    """Round W [K, N] to the nearest of 2^bits levels per block, zero being one of them."""
    blocks, scales, zeros = _grid(weight, bits, block_size)
    levels = np.rint(blocks / scales[..., None] + zeros[..., None]).clip(0, 2**bits - 1).astype(np.uint8)
    return Packed(_bytes(levels, bits), scales.reshape(-1), _bytes(zeros, bits).reshape(-1))


def _grid(
    weight: NDArray[np.float32], bits: int, block_size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], Bytes]:
    """The blocks of W [K, N], filled up with zeros, as [N, blocks, block_size], and a scale and zero point for each."""
    count, columns = -(-weight.shape[0] // block_size), weight.shape[1]
    padded = np.zeros((count * block_size, columns), np.float32)
    padded[: weight.shape[0]] = weight
    blocks = padded.T.reshape(columns, count, block_size)
    low, high = np.minimum(blocks.min(-1), 0), np.maximum(blocks.max(-1), 0)
    scales = np.where(high > low, (high - low) / (2**bits - 1), 1).astype(np.float32)
    return blocks, scales, np.rint(-low / scales).clip(0, 2**bits - 1).astype(np.uint8)


def learned_blocks(form: Linear, moments: Floats, graph: Graph, bits: int, block_size: int) -> Learned:
    """The blocks of a layer that err least at its output, `moments` being [1, K, K]. Scales and zero points stay."""
    weight = np.asarray(graph.weight(form.layer.weight), np.float32)
    weight = weight if form.turned else weight.T
    blocks, scales, zeros = _grid(weight, bits, block_size)
    scale, zero = (
        np.repeat(part, block_size, axis=-1)[None, :, : form.width].astype(np.float32) for part in (scales, zeros)
    )
    made = learn(weight.T[None], Grid(scale, zero, 0, 2**bits - 1), moments)
    levels = np.broadcast_to(zeros[..., None], blocks.shape).reshape(blocks.shape[0], -1).copy()
    levels[:, : form.width] = made.levels[0].astype(np.uint8)
    name = f"{form.node.inputs[1]}_{form.node.outputs[0]}_blocks"
    return Learned({name: _bytes(levels.reshape(blocks.shape), bits)}, made.before, made.after)


def _bytes(levels: Bytes, bits: int) -> Bytes:
    """Along the last axis, two 4-bit numbers to a byte; 8-bit numbers as they are."""
    if bits == 8:  # noqa: PLR2004 - a byte
        return levels
    if levels.shape[-1] % 2:
        levels = np.concatenate([levels, np.zeros_like(levels[..., :1])], axis=-1)
    return np.asarray(levels[..., 0::2] | (levels[..., 1::2] << 4), np.uint8)


def why_not(graph: Graph, layer: Layer) -> str | None:
    """Why a layer cannot be stored in blocks; None if it can."""
    node = next(node for node in graph.nodes if name_of(node) == layer.name)
    if layer.op not in OPS:
        return f"{layer.op} is no product of matrices"
    if len(layer.shape) != 2:  # noqa: PLR2004 - K and N
        return "its weight is no matrix"
    if node.input[1] not in graph.constants:
        return "its weight is computed, or is the left factor"
    if graph.dtype(layer.weight) != "float32":
        return "its weight is not float32"
    if _attribute(node, "transA", 0) or _attribute(node, "alpha", 1) != 1 or _attribute(node, "beta", 1) != 1:
        return "its Gemm transposes or scales its input"
    return None


def _attribute(node: NodeProto, name: str, default: float) -> float:
    found = next((given for given in node.attribute if given.name == name), None)
    return default if found is None else float(helper.get_attribute_value(found))


def store_in_blocks(graph: Graph, layer: Layer, bits: int, block_size: int) -> None:
    """Replace the layer's node in place; `why_not` must have said None. The name and the output stay."""
    nodes = graph.model.graph.node
    index = next(number for number, node in enumerate(nodes) if name_of(node) == layer.name)
    node = nodes[index]
    weight = np.asarray(graph.weight(node.input[1]), np.float32)
    weight = weight.T if _attribute(node, "transB", 0) else weight
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None  # noqa: PLR2004 - Gemm's third input
    made = _nodes(graph, node, packed(weight, bits, block_size), weight.shape, bits, block_size, bias)
    del nodes[index]
    for offset, new in enumerate(made):
        nodes.insert(index + offset, new)
    _import_domain(graph)
    graph.reindex()


def _nodes(
    graph: Graph, node: NodeProto, made: Packed, shape: tuple[int, ...], bits: int, block_size: int, bias: str | None
) -> list[NodeProto]:
    output = node.output[0]
    product = f"{output}_product" if bias else output
    inputs = [node.input[0]]
    parts: tuple[tuple[str, Array], ...] = (
        ("blocks", made.blocks),
        ("scales", made.scales),
        ("zero_points", made.zero_points),
    )
    for name, values in parts:
        inputs.append(f"{node.input[1]}_{output}_{name}")
        graph.model.graph.initializer.append(numpy_helper.from_array(values, inputs[-1]))
    found = [
        helper.make_node(
            "MatMulNBits", inputs, [product], name_of(node), domain=DOMAIN, K=shape[0], N=shape[1], bits=bits,
            block_size=block_size,
        )
    ]  # fmt: skip
    if bias:
        found.append(helper.make_node("Add", [product, bias], [output], f"{name_of(node)}_bias"))
    return found


def _import_domain(graph: Graph) -> None:
    if not any(opset.domain == DOMAIN for opset in graph.model.opset_import):
        graph.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
