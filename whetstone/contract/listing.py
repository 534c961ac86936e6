"""How lists are sorted."""

from enum import StrEnum


class Sort(StrEnum):
    """`-created`: newest first. Names are in the order of their letters' code points."""

    NEWEST = "-created"
    OLDEST = "created"
    NAME = "name"
    NAME_DOWN = "-name"
