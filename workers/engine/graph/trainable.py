"""Run an ONNX graph op by op in PyTorch, with its float weights as parameters, and write back what was learned.

Nothing is exported anew: the graph stays the one that came, with other numbers in its constants.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from whetstone.contract.failures import FailureCode
from workers.engine.errors import EngineError
from workers.engine.graph.bodies import inner_weights, moved_out
from workers.engine.graph.fusion import fuse
from workers.engine.graph.graph import Graph
from workers.engine.graph.ops.expansion import expanded
from workers.engine.graph.ops.host import dense
from workers.engine.graph.ops.learning import Step, is_weight, reach, states, used_constants
from workers.engine.graph.ops.node import Node, Op, decode, op
from workers.engine.graph.ops.program import Program, Unsupported, Watch, bodies_of, captured, check_supported
from workers.engine.graph.ops.quantization import along, requantize, to_integers
from workers.engine.graph.ops.setting import Setting
from workers.engine.graph.ops.table import OPS
from workers.engine.graph.ops.values import Host, Value, as_host, as_tensor
from workers.engine.graph.scales import SMALLEST, Scales, find_scales

ZERO_POINT = 2


class NotTrainable(EngineError):
    """The graph has an operator that cannot be trained through."""

    code = FailureCode.UNSUPPORTED_OP
    hint = "Leave finetune and scheduled pruning out of the recipe; the other passes work on any operator."


def needed(graph: Graph, wanted: Iterable[str]) -> tuple[Node, ...]:
    """The nodes that the wanted tensors depend on, in the order they run; constants need no running."""
    names, kept = set(wanted), []
    for proto in reversed(graph.nodes):
        if names.intersection(proto.output) and proto.output[0] not in graph.constants:
            node = decode(proto, graph.opset)
            kept.append(node)
            names.update(proto.input)
            names.update(name for body in bodies_of(node).values() for name in captured(body))
    return tuple(reversed(kept))


def constants_of(graph: Graph) -> dict[str, Host]:
    """All constants as arrays that nobody else changes; sparse ones written out."""
    sparse = {s.values.name: dense(s) for s in graph.model.graph.sparse_initializer}
    return {name: graph.weight(name).copy() for name in graph.constants} | sparse


class _Stored:
    """A weight stored as integers behind a DequantizeLinear; learned as the floats they stand for."""

    def __init__(self, node: Node, constants: Mapping[str, Host]) -> None:
        self.node, self.scale_name = node, node.inputs[1]
        self.scale = as_tensor(constants[self.scale_name])
        stored = constants[node.inputs[0]]
        has_zero = len(node.inputs) > ZERO_POINT and node.inputs[ZERO_POINT] in constants
        self.zero: Host = constants[node.inputs[ZERO_POINT]] if has_zero else np.zeros((), stored.dtype)
        self.dtype = stored.dtype

    def to_floats(self, stored: Host) -> Tensor:
        values = as_tensor(stored).double()
        offset = along(as_tensor(self.zero), self.node, values).double()
        return ((values - offset) * along(self.scale, self.node, values).double()).float()

    def to_stored(self, latent: Tensor, scale: Tensor) -> Host:
        q = to_integers(self.node, latent.double(), scale.double(), self.zero)
        return q.numpy().astype(self.dtype)

    def op(self) -> Op:
        """How the DequantizeLinear is run over the floats."""

        def run(node: Node, latent: Tensor, scale: Tensor, zero: Value = None) -> Tensor:
            return requantize(node, latent, scale, zero, self.zero)

        return op(run, raw=[ZERO_POINT], learned=[0])


class Trainable(nn.Module):
    """A graph as a module: tensors by input name in, tensors by output name out.

    Parameters are the float constants at inputs that are learned (weights, biases, scales of normalizations, and
    the floats behind quantized weights; the scales of quantization too with `learn_scales`), also behind transposes,
    reshapes and other ops that only move them, and within bodies of control flow; running statistics are buffers.
    Only what `outputs` (default: all of the graph's) depend on is run. Statistics must not share a tensor with
    anything learned: see `graph.edit.separate_statistics`. Raises NotTrainable, naming the node, before any work: for
    an op that is not known, and where an op that no gradient passes leaves nothing to learn.
    """

    def __init__(self, graph: Graph, outputs: Sequence[str] | None = None, *, learn_scales: bool = False) -> None:
        super().__init__()
        self.outputs = tuple(outputs or (facts.name for facts in graph.outputs))
        graph = self._known(graph)
        constants = constants_of(graph)
        nodes = needed(graph, self.outputs)
        self._check(nodes)
        self._stored = {n.inputs[0]: _Stored(n, constants) for n in nodes if self._reads_stored_weight(n, constants)}
        special = {stored.node.outputs[0]: stored.op() for stored in self._stored.values()}
        steps = [(node, special.get(node.outputs[0], OPS[node.op])) for node in nodes]
        self._names: dict[str, str] = {}
        self._scales = find_scales(nodes, constants) if learn_scales else Scales()
        self._collect(steps, constants)
        for name in sorted(self._scales.learned):
            self._register(name, nn.Parameter(as_tensor(constants[name].copy()).clamp_min(SMALLEST).log()))
        self._setting = Setting()
        self._inputs = [facts.name for facts in graph.inputs if self._is_read(facts.name, nodes)]
        bound = [*self._inputs, *self._names, *self._scales.products]
        nodes, together = fuse(nodes, constants, self.outputs, self._names)
        self._program = Program(nodes, bound, self.outputs, constants, self._setting, special | together)

    @staticmethod
    def _known(graph: Graph) -> Graph:
        model = moved_out(expanded(graph.model))
        return graph if model is graph.model else Graph(model)

    @staticmethod
    def _check(nodes: Sequence[Node]) -> None:
        try:
            check_supported(nodes)
        except Unsupported as error:
            message = f"Node '{error.node.name}' is a {error.node.op}, which cannot be trained through."
            raise NotTrainable(message, layer=error.node.name) from error

    @staticmethod
    def _reads_stored_weight(node: Node, constants: Mapping[str, Host]) -> bool:
        """Whether a node turns constant integers to floats, by a scale that is constant too."""
        if node.op != "DequantizeLinear" or not {node.inputs[0], node.inputs[1]} <= constants.keys():
            return False
        return "int" in constants[node.inputs[0]].dtype.name

    def _is_read(self, name: str, nodes: Sequence[Node]) -> bool:
        read = {n for node in nodes for n in node.inputs} | set(self.outputs)
        read |= {n for node in nodes for body in bodies_of(node).values() for n in captured(body)}
        return name in read

    def _is_learned(self, name: str, constants: Mapping[str, Host], wanted: Mapping[str, bool]) -> bool:
        if name not in wanted:
            return False
        value = constants[name]
        is_float = as_tensor(value[:0] if value.ndim else value).is_floating_point() if value.dtype != object else False
        return name in self._stored or (is_float and value.ndim > 0 and is_weight(value, many=wanted[name]))

    def _collect(self, steps: Sequence[Step], constants: Mapping[str, Host]) -> None:
        """Register parameters and running statistics; what else is constant stays as it is."""
        found, kept = reach(steps, self.outputs), states(steps, constants)
        for name in used_constants(steps, constants):
            if name not in kept and self._is_learned(name, constants, found.wanted):
                self._register(name, nn.Parameter(self._initial(name, constants)))
            elif name in kept:
                self._register(name, self._initial(name, constants))
        if not self.weights and found.blocking:
            lost = reach(steps, self.outputs, through_all=True).wanted
            if any(name in constants and self._is_learned(name, constants, lost) for name in lost):
                node = found.blocking[0]
                message = f"Node '{node.name}' is a {node.op}, which no gradient passes: nothing is left to train."
                raise NotTrainable(message, layer=node.name)

    def _initial(self, name: str, constants: Mapping[str, Host]) -> Tensor:
        return (
            self._stored[name].to_floats(constants[name]) if name in self._stored else as_tensor(constants[name].copy())
        )

    def _register(self, name: str, value: Tensor) -> None:
        """Keep a value under a name that torch accepts: ONNX names may hold dots."""
        self._names[name] = f"w{len(self._names)}"
        if isinstance(value, nn.Parameter):
            self.register_parameter(self._names[name], value)
        else:
            self.register_buffer(self._names[name], value)

    def hold_still(self, ops: frozenset[str]) -> None:
        """Let these ops behave in training as in inference."""
        self._setting.still = ops

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """The parameters by the names of the constants that hold them; without `scales`."""
        found = {name: getattr(self, own) for name, own in self._names.items() if name not in self._scales.learned}
        return {name: value for name, value in found.items() if isinstance(value, nn.Parameter)}

    @property
    def scales(self) -> dict[str, nn.Parameter]:
        """The logarithms of the scales that are learned, by the names of the constants that hold these."""
        return {name: getattr(self, self._names[name]) for name in sorted(self._scales.learned)}

    def _values(self) -> dict[str, Tensor]:
        """What constants are now."""
        found = {name: getattr(self, own) for name, own in self._names.items()}
        found |= {name: found[name].exp() for name in self._scales.learned}
        return found | self._scales.of_biases({name: found[name] for name in self._scales.learned})

    def forward(self, inputs: Mapping[str, Tensor], watch: Watch | None = None) -> dict[str, Tensor]:
        """Run the graph. `watch` is shown every value as it is made."""
        given = [inputs[name] for name in self._inputs]
        self._setting.training = self.training
        self._setting.device = given[0].device if given and given[0].device.type != "cpu" else None
        made = self._program.run([*given, *self._values().values()], watch)
        return {name: as_tensor(value) for name, value in zip(self.outputs, made, strict=True)}

    @torch.no_grad()
    def write_back(self, graph: Graph) -> None:
        """Put the learned weights, scales and running statistics into the constants of `graph` they came from."""
        values = {name: value.detach().cpu() for name, value in self._values().items()}
        inner = {each.name: each for each in inner_weights(graph.model)}
        for name, value in values.items():
            if name in inner:
                inner[name].tensor.CopyFrom(numpy_helper.from_array(as_host(value), inner[name].tensor.name))
            elif name in self._stored:
                stored = self._stored[name]
                graph.set_weight(name, stored.to_stored(value, values.get(stored.scale_name, stored.scale)))
            else:
                graph.set_weight(name, as_host(value))

    @torch.no_grad()
    def first_not_finite(self, inputs: Mapping[str, Tensor]) -> str | None:
        """The node where NaN or infinity first appears for these inputs; None if nowhere."""
        found: list[str] = []

        def look(node: Node, value: Value) -> None:
            if not found and isinstance(value, Tensor) and not torch.isfinite(value).all():
                found.append(node.name)

        self(inputs, look)
        return found[0] if found else None
