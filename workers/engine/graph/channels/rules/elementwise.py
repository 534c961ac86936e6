"""Element by element: operands that are broadcast against each other have the same channels."""

from workers.engine.graph.channels.atoms import Atoms, carried
from workers.engine.graph.channels.sites import Role
from workers.engine.graph.channels.trace import Trace
from workers.engine.graph.ops.node import Node
from workers.engine.graph.shapes import Shape


def unary(trace: Trace, node: Node) -> None:
    """The output has the channels of the first input; other inputs are settings."""
    atoms = trace.atoms(node.inputs[0])
    if atoms is not None:
        trace.put(node.outputs[0], atoms)


def _aligned(shape: Shape, rank: int) -> Shape:
    return (1,) * (rank - len(shape)) + tuple(shape)


def _operands(trace: Trace, node: Node) -> tuple[list[tuple[Atoms, Shape]], list[Shape], int] | None:
    """The operands that carry channels with their shapes, the shapes of those that do not, and the common rank."""
    names = [name for name in node.inputs if name and name not in trace.graph.constants]
    shapes = [trace.shapes.get(name) for name in node.inputs if name]
    if None in shapes:
        return None
    rank = max(len(shape) for shape in shapes if shape is not None)
    live, rigid = [], []
    for name in names:
        shape, atoms = _aligned(trace.shapes[name], rank), trace.atoms(name)
        if atoms is None:
            rigid.append(shape)
        else:
            live.append((atoms.reshape((1,) * (rank - atoms.ndim) + atoms.shape), shape))
    return live, rigid, rank


def elementwise(trace: Trace, node: Node) -> None:
    """Add, Mul, Where …: of channels with channels, with what cannot be cut, and with constants."""
    operands = _operands(trace, node)
    if operands is None:
        trace.refuse(node.inputs, f"the shapes in '{node.name}' are not known")
        return
    live, rigid, rank = operands
    atoms, shape = live[0]
    for other, other_shape in live[1:]:
        if _crosses(atoms, shape, other, other_shape):
            trace.refuse(node.inputs, f"'{node.name}' combines every one of them with every one of others")
            return
        trace.ties.tie(atoms, other)
        atoms = atoms if len(carried(atoms)) >= len(carried(other)) else other
        shape = tuple(a if b == 1 else b for a, b in zip(shape, other_shape, strict=True))
    if any(other[axis] != 1 for other in rigid for axis in carried(atoms)):
        trace.ties.fix(atoms, f"'{node.name}' combines them with what cannot be cut")
    trace.put(node.outputs[0], atoms)
    for index, name in enumerate(node.inputs):
        if name in trace.graph.constants:
            _constant(trace, node, index, atoms, rank)


def _crosses(atoms: Atoms, shape: Shape, other: Atoms, other_shape: Shape) -> bool:
    """Whether the operands carry channels along different axes, each broadcast along the other's."""
    return all(other_shape[axis] == 1 for axis in carried(atoms)) and all(shape[axis] == 1 for axis in carried(other))


def _constant(trace: Trace, node: Node, index: int, atoms: Atoms, rank: int) -> None:
    """A constant operand is cut along the axes that it shares with the channels."""
    dims = _aligned(tuple(trace.graph.constants[node.inputs[index]].dims), rank)
    own = atoms
    for axis in carried(atoms):
        if dims[axis] == 1:
            own = own.take([0], axis)
    if not carried(own):
        return
    if own.shape != atoms.shape:
        trace.ties.tie(atoms, own)
    own_rank = len(trace.graph.constants[node.inputs[index]].dims)
    trace.joint_site(node, index, own.reshape(own.shape[rank - own_rank :]), Role.VECTOR)
