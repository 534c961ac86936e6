"""Run an ONNX graph op by op in PyTorch, with its float weights as parameters, and write back what was learned.

Nothing is exported anew: the graph stays the one that came, with other numbers in its constants.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn

from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.host import HOST
from workers.engine.graph.ops.node import Host, Node, Op, Value, as_ints, as_tensor, decode
from workers.engine.graph.ops.quantization import REQUANTIZE, along, to_integers
from workers.engine.graph.ops.table import OPS

Watch = Callable[[Node, Value], None]


class NotTrainable(EngineError):
    """The graph has an operator that cannot be trained through."""

    code = FailureCode.UNSUPPORTED_OP
    hint = "Leave finetune and scheduled pruning out of the recipe; the other passes work on any operator."


def _needed(graph: Graph, wanted: Iterable[str]) -> tuple[Node, ...]:
    """The nodes that the wanted tensors depend on, in the order they run; constants need no running."""
    names, kept = set(wanted), []
    for proto in reversed(graph.nodes):
        if names.intersection(proto.output) and proto.output[0] not in graph.constants:
            kept.append(decode(proto, graph.opset))
            names.update(proto.input)
    return tuple(reversed(kept))


class _Quantized:
    """A weight stored as integers behind a DequantizeLinear; learned as the floats they stand for."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.axis: int = node.get("axis", 1)
        self.scale = as_tensor(graph.weight(node.inputs[1]).copy())
        zero = node.inputs[2] if len(node.inputs) > 2 else ""  # noqa: PLR2004 - the third input
        self.dtype = graph.weight(node.inputs[0]).dtype
        zeros = np.zeros(self.scale.shape, self.dtype)
        self.zero = as_tensor(graph.weight(zero).copy() if zero in graph.constants else zeros)

    def to_floats(self, stored: Host) -> Tensor:
        values = as_tensor(stored.astype(np.float64))
        offset = along(self.zero, self.axis, values.dim()).double()
        return ((values - offset) * along(self.scale, self.axis, values.dim()).double()).float()

    def to_stored(self, latent: Tensor) -> Host:
        q = to_integers(latent.double(), self.scale.double(), self.zero, self.axis)
        return q.numpy().astype(self.dtype)


class Trainable(nn.Module):
    """A graph as a module: tensors by input name in, tensors by output name out.

    Parameters are the float32 constants at inputs that are learned (weights, biases, scales of normalizations, and
    the floats behind quantized weights); running statistics are buffers. Only what `outputs` (default: all of the
    graph's) depend on is run. Statistics must not share a tensor with anything learned: see
    `graph.edit.separate_statistics`. Ops in `still` behave in training as in inference. Raises NotTrainable, naming
    the node, before any work.
    """

    def __init__(self, graph: Graph, outputs: Sequence[str] | None = None) -> None:
        super().__init__()
        self.outputs = tuple(outputs or (facts.name for facts in graph.outputs))
        self.still: frozenset[str] = frozenset()
        self._quantized: dict[str, _Quantized] = {}
        self._steps = [(node, self._op(graph, node)) for node in _needed(graph, self.outputs)]
        self._constants: dict[str, Host] = {}
        self._names: dict[str, str] = {}
        self._collect(graph)
        self._dying = self._last_uses()

    def _op(self, graph: Graph, node: Node) -> Op | None:
        """How to run a node; None for one that only ever runs on sizes."""
        if node.op == "DequantizeLinear" and self._is_stored_weight(graph, node.inputs[0]):
            self._quantized[node.inputs[0]] = _Quantized(graph, node)
            return REQUANTIZE
        if node.op not in OPS and node.op not in HOST:
            raise NotTrainable(f"Node '{node.name}' is a {node.op}, which cannot be trained through.", layer=node.name)
        return OPS.get(node.op)

    @staticmethod
    def _is_stored_weight(graph: Graph, name: str) -> bool:
        return name in graph.constants and "int" in graph.dtype(name)

    def _is_learned(self, graph: Graph, name: str, op: Op, index: int) -> bool:
        tensor = graph.constants[name]
        if name in self._quantized:
            return True
        floats = tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 0
        return floats and index in op.learned and not (op.many and np.prod(tensor.dims) <= 1)

    def _collect(self, graph: Graph) -> None:
        """Sort the constants in use into parameters, buffers, and values that stay as they are."""
        for node, op in self._steps:
            for index, name in enumerate(node.inputs):
                if name not in graph.constants or name in self._names:
                    continue
                if op is not None and self._is_learned(graph, name, op, index):
                    self._register(name, nn.Parameter(self._initial(graph, name)))
                elif op is not None and index in op.state:
                    self._register(name, self._initial(graph, name))
                else:
                    self._constants[name] = graph.weight(name).copy()

    def _initial(self, graph: Graph, name: str) -> Tensor:
        stored = graph.weight(name)
        return self._quantized[name].to_floats(stored) if name in self._quantized else as_tensor(stored.copy())

    def _register(self, name: str, value: Tensor) -> None:
        """Keep a value under a name that torch accepts: ONNX names may hold dots."""
        self._constants.pop(name, None)
        self._names[name] = f"w{len(self._names)}"
        if isinstance(value, nn.Parameter):
            self.register_parameter(self._names[name], value)
        else:
            self.register_buffer(self._names[name], value)

    def _last_uses(self) -> list[list[str]]:
        """Per step, the values that no later one reads: dropped at once, so memory holds only what is alive."""
        last: dict[str, int] = {}
        for number, (node, _) in enumerate(self._steps):
            last |= dict.fromkeys((*node.inputs, *node.outputs), number)
        dying: list[list[str]] = [[] for _ in self._steps]
        for name, number in last.items():
            if name not in self.outputs:
                dying[number].append(name)
        return dying

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The parameters by the names of the constants that hold them."""
        found = {name: getattr(self, own) for name, own in self._names.items()}
        return {name: value for name, value in found.items() if isinstance(value, nn.Parameter)}

    def forward(self, inputs: Mapping[str, Tensor], watch: Watch | None = None) -> dict[str, Tensor]:
        """Run the graph. `watch` is shown every value as it is made."""
        values: dict[str, Value] = {**self._constants, **inputs}
        values |= {name: getattr(self, own) for name, own in self._names.items()}
        for (node, op), dying in zip(self._steps, self._dying, strict=True):
            made = self._run(node, op, [values[name] if name else None for name in node.inputs])
            results = made if isinstance(made, tuple) else (made,)
            for name, result in zip(node.outputs, results, strict=False):
                values[name] = result
                if watch is not None:
                    watch(node, result)
            for name in dying:
                values.pop(name, None)
        return {name: as_tensor(values[name]) for name in self.outputs}

    def _run(self, node: Node, op: Op | None, given: list[Value | None]) -> Value | tuple[Value, ...]:
        if node.op in HOST and not any(isinstance(value, Tensor) for value in given):
            return HOST[node.op](node, *given)
        if op is None:
            raise NotTrainable(f"Node '{node.name}' is a {node.op} of computed values.", layer=node.name)
        ready = [
            value if value is None else as_ints(value) if index in op.sizes else as_tensor(value)
            for index, value in enumerate(given)
        ]
        training = self.training and node.op not in self.still
        return op.run(node, *ready, training=training) if op.modal else op.run(node, *ready)

    def write_back(self, graph: Graph) -> None:
        """Put the learned weights and running statistics into the constants of `graph` that they came from."""
        for name, own in self._names.items():
            value: Tensor = getattr(self, own).detach().cpu()
            stored = self._quantized[name].to_stored(value) if name in self._quantized else value.numpy()
            graph.set_weight(name, stored)

    @torch.no_grad()
    def first_not_finite(self, inputs: Mapping[str, Tensor]) -> str | None:
        """The node where NaN or infinity first appears for these inputs; None if nowhere."""
        found: list[str] = []

        def look(node: Node, value: Value) -> None:
            if not found and isinstance(value, Tensor) and not torch.isfinite(value).all():
                found.append(node.name)

        self(inputs, look)
        return found[0] if found else None
