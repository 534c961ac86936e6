"""Where a cut must be made: in constants, in attributes, and in constants that say how long an axis is."""

from dataclasses import dataclass
from enum import StrEnum

from workers.engine.graph.channels.atoms import Atoms


class Role(StrEnum):
    """What an index of a constant does for its channel: makes it, takes it in, or shifts and scales it."""

    OUT = "out"
    IN = "in"
    VECTOR = "vector"


@dataclass(frozen=True)
class Site:
    """Input `index` of a node, a constant: its atoms, of the constant's rank, length 1 along axes that stay.

    `node` is the node's first output, which is unique where names may not be.
    """

    constant: str
    node: str
    layer: str
    op: str
    index: int
    atoms: Atoms
    role: Role


@dataclass(frozen=True)
class Entry:
    """One number of an integer constant."""

    constant: str
    position: int


@dataclass(frozen=True)
class Setting:
    """An integer attribute of a node, or one number of it if it is a list."""

    node: str
    attribute: str
    position: int | None = None


@dataclass(frozen=True)
class Count:
    """A number that must be how many of the indices `start` to `stop` along an axis of a tensor are left."""

    tensor: str
    axis: int
    place: Entry | Setting
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Remap:
    """A constant of indices along an axis of a tensor, at input 1 of `node`: they move up when others go."""

    tensor: str
    axis: int
    constant: str


@dataclass(frozen=True)
class Origin:
    """A number computed as the length of an axis of a tensor."""

    tensor: str
    axis: int


SizeEntry = Entry | Origin | None
"""Where a number in a list of sizes comes from; None if that is not known."""
