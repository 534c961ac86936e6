"""Labels: keys and values by which resources are found again, within the limits of Kubernetes."""

from typing import Annotated

from pydantic import Field, StringConstraints

from whetstone.contract.types import Contract, DisplayName

MOST_LABELS = 64
_WORD = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
KEY_PATTERN = rf"({_DOMAIN}/)?{_WORD}"
VALUE_PATTERN = rf"({_WORD})?"

LabelKey = Annotated[
    str,
    StringConstraints(pattern=rf"^{KEY_PATTERN}$", max_length=317),
    Field(description="up to 63 letters, digits, `.`, `_`, `-`, perhaps after a domain and `/`"),
]
LabelValue = Annotated[
    str,
    StringConstraints(pattern=rf"^{VALUE_PATTERN}$", max_length=63),
    Field(description="up to 63 letters, digits, `.`, `_`, `-`; may be empty"),
]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=MOST_LABELS)]


class ResourceChange(Contract):
    """Another name; labels that are added or replaced; keys of labels that are taken away."""

    name: DisplayName | None = None
    labels: Labels = {}
    remove_labels: Annotated[frozenset[LabelKey], Field(max_length=MOST_LABELS)] = frozenset()
