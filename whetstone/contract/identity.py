"""Who one is, and what one may do."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, SecretStr

from whetstone.contract.types import Contract, DisplayName, KeyRef, SessionRef, TenantRef, UserRef


class Scope(StrEnum):
    """What a caller may do: look; upload, order and delete; change webhooks, keys and members."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Role(StrEnum):
    """What a user is in the tenant. Only an owner makes or unmakes owners."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"

    @property
    def scopes(self) -> frozenset[Scope]:
        match self:
            case Role.OWNER | Role.ADMIN:
                return frozenset(Scope)
            case Role.MEMBER:
                return frozenset({Scope.READ, Scope.WRITE})
            case Role.VIEWER:
                return frozenset({Scope.READ})


class Login(Contract):
    """An email address and password, exchanged for a new API key."""

    email: Annotated[str, Field(min_length=3, max_length=320)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1000)]
    key_name: DisplayName = "login"


class SignIn(Contract):
    """An email address and password, exchanged for a session's cookie."""

    email: Annotated[str, Field(min_length=3, max_length=320)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1000)]


class Me(Contract):
    """The caller: by an API key, or by a browser's session."""

    tenant_id: TenantRef
    user_id: UserRef
    key_id: KeyRef | SessionRef
    role: Role
    scopes: tuple[Scope, ...]
