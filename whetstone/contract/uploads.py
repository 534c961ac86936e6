"""Files on their way to the storage: announced, sent there in parts by signed links, completed."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from whetstone.contract.types import Bytes, Contract, Sha256, UploadRef

PartNumber = Annotated[int, Field(ge=1, le=10_000, description="counted from 1")]


class UploadState(StrEnum):
    """A complete upload can be made a model or a dataset."""

    OPEN = "open"
    COMPLETE = "complete"


class UploadCreate(Contract):
    """A file that is about to be sent."""

    size: Bytes
    sha256: Sha256


class UploadRead(Contract):
    """A file on its way; an open one is thrown away at `expires_at`, a complete one that nothing was made of too."""

    id: UploadRef
    state: UploadState
    size: Bytes
    sha256: Sha256
    part_size: Bytes
    parts: Annotated[int, Field(ge=1, description="how many parts it is sent in; all but the last have `part_size`")]
    created_at: datetime
    expires_at: datetime


class PartLink(Contract):
    """Where to PUT `size` bytes of the file from `offset` on, with these headers; nothing else is taken."""

    number: PartNumber
    offset: Bytes
    size: Bytes
    url: str
    headers: dict[str, str] = {}


class UploadParts(Contract):
    """Parts that have not arrived; pass `next_after` back as `after` to go on, None is the end."""

    items: tuple[PartLink, ...]
    next_after: int | None = None
