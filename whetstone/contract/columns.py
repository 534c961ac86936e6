"""Columns of a table or of JSON lines, and the one that holds the labels."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from whetstone.contract.types import Contract

Column = Annotated[str, Field(min_length=1, max_length=500)]


class LabelKind(StrEnum):
    """Classes are whole numbers from 0, or names, which count from 0 in their order; values are real numbers."""

    CLASS = "class"
    VALUE = "value"


class TableLabel(Contract):
    column: Column
    kind: LabelKind = LabelKind.CLASS
