"""Lists come in pages with a cursor."""

from typing import Generic, TypeVar

from whetstone.contract.types import Contract

T = TypeVar("T")


class Page(Contract, Generic[T]):
    """Newest first; pass `next_cursor` back as `cursor` to go on, None is the end."""

    items: tuple[T, ...]
    next_cursor: str | None = None
