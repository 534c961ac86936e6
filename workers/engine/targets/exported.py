"""A graph as PyTorch's exported program: what the converters of LiteRT, ExecuTorch and Core ML read.

Shapes are fixed in it. Pairs of QuantizeLinear and DequantizeLinear become the operators by which PyTorch's own
quantization (PT2E) marks what is computed in 8 bits, so that these converters find them.
"""

import itertools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401 - registers torch.ops.quantized_decomposed
from torch.export import ExportedProgram
from torch.fx.traceback import annotate, preserve_node_meta

from whetstone.contract.models import TensorFacts
from whetstone.contract.reports import ShapeRange
from workers.engine.graph.bodies import moved_out
from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.expansion import expanded
from workers.engine.graph.ops.node import Node, Op, op
from workers.engine.graph.ops.program import NodeFailed, Program, Unsupported, check_supported
from workers.engine.graph.ops.quantization import from_integers
from workers.engine.graph.ops.setting import Setting
from workers.engine.graph.ops.table import OPS
from workers.engine.graph.ops.values import TORCH_TYPES, Host, Value, as_host, as_tensor
from workers.engine.graph.trainable import constants_of, needed
from workers.engine.targets.builder import OperatorRefused
from workers.engine.targets.runtime import TargetBuildFailed, first_line

NODE = "onnx_node"
"""Under this key an exported operator tells the node that it comes from."""

QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
EIGHT_BITS = (np.dtype(np.int8), np.dtype(np.uint8))
TO_SIGNED = 128
"""uint8 less this is int8: with the zero point moved as well, the same numbers."""

LOWEST, HIGHEST = -128, 127
NAMED_OP = re.compile(r"aten\.[a-z_0-9]+(?:\.[A-Za-z_0-9]+)?")
CHECK = "aten._assert_tensor_metadata.default"
quantized = torch.ops.quantized_decomposed


class _Layers(nn.Module):
    """A graph for inference: tensors by place in and out. Its weights are buffers; what is small stays a constant."""

    def __init__(self, graph: Graph, *, as_floats: bool) -> None:
        super().__init__()
        model = moved_out(expanded(graph.model))
        graph = graph if model is graph.model else Graph(model)
        outputs = [facts.name for facts in graph.outputs]
        constants = constants_of(graph)
        nodes = list(_unfolded(needed(graph, outputs), constants))
        check_supported(nodes)
        stored = {node.inputs[0]: node for node in nodes if _takes_8_bits(node, constants)}
        weights = dict(_weights(nodes, constants, stored))
        for number, (name, value) in enumerate(weights.items()):
            floats = as_floats and name in stored
            self.register_buffer(
                f"w{number}", _floats(stored[name], constants) if floats else as_tensor(_signed(value))
            )
        bound = [*(facts.name for facts in graph.inputs), *weights]
        special = {
            node.outputs[0]: _marked(node, _quantizing(node, constants, again=as_floats and node in stored.values()))
            for node in nodes
            if node.outputs
        }
        self._program = Program(nodes, bound, outputs, constants, Setting(), special)
        self._count = len(weights)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        weights = [getattr(self, f"w{number}") for number in range(self._count)]
        return tuple(as_tensor(value) for value in self._program.run([*given, *weights]))


def exported(onnx_file: Path, shapes: Sequence[ShapeRange], *, as_floats: bool = False) -> ExportedProgram:
    """The graph in ATen's core operators, for inputs of the usual ones of these shapes. Weights of 8 bits stay what
    they are, or with `as_floats` become floats that are quantized before they are dequantized, as LiteRT's converter
    wants it.

    Raises: OperatorRefused, TargetBuildFailed.
    """
    graph = Graph(onnx.load(onnx_file))
    sizes = {each.input: each.usual for each in shapes}
    example = tuple(_example(facts, sizes) for facts in graph.inputs)
    try:
        with preserve_node_meta(), warnings.catch_warnings(action="ignore"):
            program = torch.export.export(
                _Layers(graph, as_floats=as_floats).eval(), example, strict=False
            ).run_decompositions({})
    except Unsupported as error:
        message = f"Node '{error.node.name}' is a {error.node.op}, which cannot be written in PyTorch's operators."
        raise OperatorRefused(message, layer=error.node.name) from error
    except NodeFailed as error:
        message = f"Node '{error.node.name}' ({error.node.op}) cannot be exported: {first_line(error.why)}"
        raise OperatorRefused(message, layer=error.node.name) from error
    except Exception as error:  # torch.export raises whatever its passes do
        raise TargetBuildFailed(f"PyTorch cannot export the model: {first_line(error)}") from error
    for each in list(program.graph.nodes):
        if str(each.target) == CHECK:
            program.graph.erase_node(each)
    program.graph.eliminate_dead_code()
    return program  # type: ignore[no-any-return]


def node_behind(program: ExportedProgram, told: str) -> str | None:
    """The first node of the graph that became an operator named in a converter's message; None if none is."""
    for named in NAMED_OP.findall(told):
        for each in program.graph.nodes:
            if each.op == "call_function" and str(each.target).startswith(named):
                found = each.meta.get("custom", {}).get(NODE)
                if found is not None:
                    return str(found)
    return None


def _example(facts: TensorFacts, sizes: Mapping[str, tuple[int, ...]]) -> Tensor:
    shape = sizes.get(facts.name) or tuple(size if isinstance(size, int) else 1 for size in facts.shape)
    return torch.zeros(shape, dtype=TORCH_TYPES[np.dtype(facts.dtype)])


def _unfolded(nodes: Sequence[Node], constants: dict[str, Host]) -> Iterator[Node]:
    """All but those that turn constants of more than 8 bits to floats: the result becomes a constant."""
    for node in nodes:
        fixed = node.op == "DequantizeLinear" and all(name in constants for name in node.inputs if name)
        if fixed and not _takes_8_bits(node, constants):
            constants[node.outputs[0]] = as_host(_floats(node, constants))
        else:
            yield node


def _floats(node: Node, constants: Mapping[str, Host]) -> Tensor:
    """What a DequantizeLinear makes of constants."""
    stored, scale, zero = (*(constants.get(name) for name in node.inputs), None)[:3]
    return from_integers(node, as_tensor(stored), as_tensor(scale), zero)


def _weights(
    nodes: Sequence[Node], constants: Mapping[str, Host], stored: Mapping[str, Node]
) -> Iterator[tuple[str, Host]]:
    """What is kept as a buffer: floats of at least one axis, and 8-bit integers that a DequantizeLinear reads."""
    read = [node.inputs[:1] if node.op in QUANTIZING else node.inputs for node in nodes]
    for name in dict.fromkeys(itertools.chain.from_iterable(read)):
        value = constants.get(name)
        if value is not None and (name in stored or (value.ndim > 0 and value.dtype.kind == "f" and value.size > 1)):
            yield name, value


def _takes_8_bits(node: Node, constants: Mapping[str, Host]) -> bool:
    """Whether it is a DequantizeLinear of a weight that these converters take in 8 bits: a matrix or more."""
    known = node.op == "DequantizeLinear" and _is_plain(node, constants) and node.inputs[0] in constants
    return known and constants[node.inputs[0]].dtype in EIGHT_BITS and constants[node.inputs[0]].ndim > 1


def _is_plain(node: Node, constants: Mapping[str, Host]) -> bool:
    """Whether its scale and zero point are constants of 8 bits, for the whole tensor or for each place of an axis."""
    scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else ""  # noqa: PLR2004 - x, scale, zero
    if node.get("block_size", 0) or scale not in constants or (zero and zero not in constants):
        return False
    return bool(zero) and constants[zero].dtype in EIGHT_BITS


def _signed(value: Host) -> Host:
    return (value.astype(np.int16) - TO_SIGNED).astype(np.int8) if value.dtype == np.uint8 else value


def _quantizing(node: Node, constants: Mapping[str, Host], *, again: bool) -> Op:
    """How a node is run: as everywhere, but for what quantizes in a way that PT2E has too. `again`: first the floats
    that a DequantizeLinear is given are quantized.
    """
    if node.op not in QUANTIZING or not _is_plain(node, constants):
        return OPS[node.op]
    scale, zero = constants[node.inputs[1]].astype(np.float32), _signed(constants[node.inputs[2]])
    told: tuple[object, ...] = (float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]))
    if scale.size > 1:
        told = (as_tensor(scale), as_tensor(zero).long(), node.get("axis", 1))
    told += (LOWEST, HIGHEST, torch.int8)
    names = ("quantize", "dequantize") if again else (node.op.removesuffix("Linear").lower(),)
    calls = [getattr(quantized, f"{name}_per_{'channel' if scale.size > 1 else 'tensor'}").default for name in names]

    def run(_: Node, x: Tensor, *__: Value) -> Tensor:
        for call in calls:
            x = call(x, *told)
        return x

    return op(run, raw=[1, 2])


def _marked(node: Node, known: Op) -> Op:
    """The same operator, which tells what it exports the node that it comes from."""

    def run(*given: Value, **more: Any) -> Value | tuple[Value, ...]:
        with annotate({NODE: node.name}):
            return known.run(*given, **more)

    return Op(run, known.sizes, known.raw, known.learned, known.state, known.blind, host=known.host, modal=known.modal)
