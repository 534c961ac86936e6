"""API keys: what programs show to be let in."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from whetstone.contract.identity import Scope
from whetstone.contract.types import Contract, DisplayName, KeyRef, UserRef

Scopes = Annotated[frozenset[Scope], Field(min_length=1)]


class ApiKeyCreate(Contract):
    """A key for a program. Without `scopes` it may do what its user may; without `expires_in_days` it never ends."""

    name: DisplayName
    scopes: Scopes | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class ApiKeyRead(Contract):
    """A key as lists show it: by its first letters. `last_used_at` is exact to a minute."""

    id: KeyRef
    user_id: UserRef
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class ApiKeyCreated(ApiKeyRead):
    """A new key. `secret` is shown this once."""

    secret: str


class RotateKey(Contract):
    """The key before stays good for `overlap_hours`."""

    overlap_hours: Annotated[float, Field(ge=0, le=7 * 24)] = 24
