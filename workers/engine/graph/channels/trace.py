"""The state of following channels through a graph, and what the rules of the operators do with it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from workers.engine.graph.channels.atoms import Atoms, Ties, carried, compact
from workers.engine.graph.channels.sites import Count, Entry, Origin, Remap, Role, Setting, Site, SizeEntry
from workers.engine.graph.graph import Array, Graph
from workers.engine.graph.ops.node import Node
from workers.engine.graph.shapes import Shape

LARGEST = 2**24
"""Atoms are not followed through reshapes of tensors with more elements than this."""


class Trace:
    """Atoms by tensor name (a tensor without any cannot be cut), and the places where a cut is to be made."""

    def __init__(self, graph: Graph, shapes: Mapping[str, Shape]) -> None:
        self.graph, self.shapes = graph, shapes
        self.ties = Ties()
        self.tensors: dict[str, Atoms] = {}
        self.sizes: dict[str, tuple[SizeEntry, ...]] = {}
        self.sites: list[Site] = []
        self.counts: list[Count] = []
        self.remaps: list[Remap] = []
        self.heads: list[Atoms] = []
        self.whole: dict[str, set[int]] = defaultdict(set)
        """Axes of tensors of which single indices are taken out by number, so that none may go."""

    def atoms(self, name: str) -> Atoms | None:
        return self.tensors.get(name)

    def along(self, name: str, axis: int) -> Atoms | None:
        """The atoms of a tensor that carries channels along this one axis only, as a vector; None otherwise."""
        atoms = self.atoms(name)
        if atoms is None or carried(atoms) != (axis % atoms.ndim,):
            return None
        return atoms.reshape(-1)

    def put(self, name: str, atoms: Atoms) -> None:
        """Say what a tensor is made of. What has only one channel left along each axis cannot be cut."""
        atoms = compact(atoms)
        if carried(atoms):
            self.tensors[name] = atoms
        else:
            self.ties.fix(atoms, f"'{name}' has only this one channel")

    def refuse(self, names: Iterable[str], reason: str) -> None:
        """Keep all channels of these tensors."""
        for name in names:
            if (atoms := self.atoms(name)) is not None:
                self.ties.fix(atoms, reason)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The full shape at batch 1; None unless every axis is known."""
        shape = self.shapes.get(name)
        if shape is None or None in shape:
            return None
        return tuple(length for length in shape if length is not None)

    def constant(self, name: str) -> Array | None:
        """The values of a constant."""
        return self.graph.weight(name) if name in self.graph.constants else None

    def ints(self, node: Node, index: int) -> list[int] | None:
        """A constant input as a list of integers; None if it is absent or computed."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        values = self.constant(name) if name else None
        return None if values is None else [int(value) for value in np.reshape(values, -1)]

    def site(self, node: Node, index: int, axis: int, atoms: Atoms, role: Role) -> None:
        """A vector of atoms along an axis of the constant at an input of a node."""
        rank = len(self.graph.constants[node.inputs[index]].dims)
        shape = [len(atoms) if place == axis % rank else 1 for place in range(rank)]
        self.joint_site(node, index, atoms.reshape(shape), role)

    def joint_site(self, node: Node, index: int, atoms: Atoms, role: Role) -> None:
        constant = node.inputs[index]
        self.sites.append(Site(constant, node.outputs[0], node.name, node.op, index, atoms, role))

    def count_attribute(self, node: Node, attribute: str, atoms: Atoms) -> None:
        """An attribute that is the number of these atoms; as if a tensor of its own had them."""
        name = f"{node.outputs[0]}#{attribute}"
        self.put(name, atoms)
        self.counts.append(Count(name, 0, Setting(node.outputs[0], attribute)))

    def entries(self, name: str) -> tuple[SizeEntry, ...] | None:
        """Where the numbers of a list of sizes come from; None if there is no telling."""
        if name in self.graph.constants:
            values = self.graph.constants[name]
            length = values.dims[0] if len(values.dims) == 1 else 1
            return tuple(Entry(name, position) for position in range(length)) if len(values.dims) <= 1 else None
        return self.sizes.get(name)

    def follow_size(self, node: Node, axis: int, entry: SizeEntry) -> None:
        """Let the number in a list of sizes be the length of an axis of the node's output that is carried."""
        output = node.outputs[0]
        atoms = self.tensors[output]
        match entry:
            case Entry(constant=constant, position=position):
                if np.reshape(self.graph.weight(constant), -1)[position] > 0:  # 0 and -1 follow by themselves
                    self.counts.append(Count(output, axis, entry))
            case Origin(tensor=tensor, axis=other):
                source = self.along(tensor, other)
                if source is None or len(source) != atoms.shape[axis]:
                    self.ties.fix(atoms, f"the sizes of '{node.name}' are computed from another axis")
                else:
                    self.ties.tie(atoms, source.reshape([-1 if i == axis else 1 for i in range(atoms.ndim)]))
            case None:
                self.ties.fix(atoms, f"the sizes of '{node.name}' are computed; run simplify first")
