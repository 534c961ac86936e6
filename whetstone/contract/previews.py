"""A look into a dataset: made once, when it is inspected, and small whatever the dataset is."""

from typing import Annotated

from pydantic import Field

from whetstone.contract.datasets import Split
from whetstone.contract.types import Contract, Count

ROWS = 8
PICTURES = 12
PICTURE_SIDE = 64
LABELS = 100
TEXT = 300
FIELDS = 16
POINTS = 120

Shown = Annotated[str, Field(max_length=TEXT, description="control characters are escaped, and long values cut")]


class PreviewRow(Contract):
    """One sample: what its fields hold, by name."""

    row: Count
    split: Split
    cells: Annotated[dict[Shown, Shown], Field(max_length=FIELDS)]
    label: Shown | None = None


class Picture(Contract):
    """A sample as a PNG of at most 64 × 64 pixels, in base64. Channels first and last are told apart by their number;
    numbers are scaled so that the smallest is black and the largest white.
    """

    row: Count
    split: Split
    field: Shown
    label: Shown | None = None
    png: Annotated[str, Field(max_length=24_000)]


class Envelope(Contract):
    """A waveform, cut into pieces of the same length: the lowest and the highest value of each."""

    row: Count
    split: Split
    field: Shown
    label: Shown | None = None
    low: Annotated[tuple[float, ...], Field(max_length=POINTS)]
    high: Annotated[tuple[float, ...], Field(max_length=POINTS)]


class LabelCount(Contract):
    """How many samples of a split have a label: a class id, which `name` may stand for."""

    label: int
    name: Shown | None = None
    counts: dict[Split, Count]


class DatasetPreview(Contract):
    """The first rows, what can be seen or heard of them, and how many samples each class and split has.

    `labels` are the commonest ones, at most a hundred; `more_labels` how many others there are.
    """

    splits: dict[Split, Count]
    rows: Annotated[tuple[PreviewRow, ...], Field(max_length=ROWS)]
    pictures: Annotated[tuple[Picture, ...], Field(max_length=PICTURES)] = ()
    envelopes: Annotated[tuple[Envelope, ...], Field(max_length=ROWS)] = ()
    labels: Annotated[tuple[LabelCount, ...], Field(max_length=LABELS)] = ()
    more_labels: Count = 0
