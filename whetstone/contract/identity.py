"""Who one is, and keys."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, SecretStr

from whetstone.contract.types import Contract, DisplayName, KeyRef, TenantRef, UserRef


class Login(Contract):
    """An email address and password, exchanged for a new API key."""

    email: Annotated[str, Field(min_length=3, max_length=320)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1000)]
    key_name: DisplayName = "login"


class ApiKeyCreated(Contract):
    """A new key. `secret` is shown this once."""

    id: KeyRef
    name: str
    prefix: str
    secret: str
    created_at: datetime


class Me(Contract):
    """The caller behind the key that was sent."""

    tenant_id: TenantRef
    user_id: UserRef
    key_id: KeyRef
