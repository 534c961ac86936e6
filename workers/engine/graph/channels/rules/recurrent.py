"""LSTM, GRU and RNN: a hidden unit is a row of each gate, and a column of the recurrent weight."""

import numpy as np

from workers.engine.graph.channels.atoms import Atoms
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.channels.trace import Trace
from workers.engine.graph.ops.node import Node

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
PEEPHOLES = 3
INPUT, WEIGHT, RECURRENT, BIAS, LENGTHS, STATES, PEEPHOLE = 0, 1, 2, 3, 4, (5, 6), 7


def recurrent(trace: Trace, node: Node) -> None:
    """Unit k of one direction goes with unit k of the other: outputs hold both in one tensor."""
    constants = trace.graph.constants
    if node.get("layout", 0) or any(node.inputs[index] not in constants for index in (WEIGHT, RECURRENT)):
        trace.refuse(node.inputs, f"'{node.name}' has computed weights or batch first")
        return
    source, gates = trace.along(node.inputs[INPUT], 2), GATES[node.op]
    if source is None:
        trace.refuse(node.inputs[:1], f"'{node.name}' takes them in another order")
    else:
        trace.site(node, WEIGHT, 2, source, Role.IN)
    units = trace.ties.new(constants[node.inputs[RECURRENT]].dims[2])
    trace.count_attribute(node, "hidden_size", units)
    trace.site(node, WEIGHT, 1, np.tile(units, gates), Role.OUT)
    trace.site(node, RECURRENT, 1, np.tile(units, gates), Role.OUT)
    trace.site(node, RECURRENT, 2, units, Role.IN)
    _vector(trace, node, BIAS, np.tile(units, 2 * gates))
    _vector(trace, node, PEEPHOLE, np.tile(units, PEEPHOLES))
    for index in STATES:
        _state(trace, node, index, units)
    for name, rank in zip(node.outputs, (4, 3, 3), strict=False):
        if name:
            trace.put(name, units.reshape((1,) * (rank - 1) + (-1,)))


def _vector(trace: Trace, node: Node, index: int, atoms: Atoms) -> None:
    name = node.inputs[index] if index < len(node.inputs) else ""
    if name in trace.graph.constants:
        trace.site(node, index, 1, atoms, Role.VECTOR)
    elif name:
        trace.ties.fix(atoms, f"the settings of '{node.name}' are computed")


def _state(trace: Trace, node: Node, index: int, units: Atoms) -> None:
    """The state to begin with: a constant, or a tensor that must have as many units."""
    name = node.inputs[index] if index < len(node.inputs) else ""
    if name in trace.graph.constants:
        trace.site(node, index, 2, units, Role.VECTOR)
    elif name and name in trace.tensors:
        trace.ties.tie(trace.tensors[name], units.reshape(1, 1, -1))
    elif name:
        trace.ties.fix(units, f"the state that '{node.name}' begins with cannot be cut")
