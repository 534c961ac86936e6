"""Accounts of programs: they have a role and API keys, and no way to log in."""

from datetime import datetime
from typing import Literal

from whetstone.contract.identity import Role
from whetstone.contract.types import Contract, DisplayName, UserRef

ProgramRole = Literal[Role.ADMIN, Role.MEMBER, Role.VIEWER]


class ServiceAccountCreate(Contract):
    """An account for a program, such as a CI. A program is never an owner."""

    name: DisplayName
    role: ProgramRole = Role.MEMBER


class ServiceAccountChange(Contract):
    """What is left out stays. While it is not `enabled` none of its keys is good."""

    name: DisplayName | None = None
    role: ProgramRole | None = None
    enabled: bool | None = None


class ServiceAccountRead(Contract):
    """A service account. Its keys can do no more than its role."""

    id: UserRef
    name: str
    role: Role
    enabled: bool
    created_at: datetime
    disabled_at: datetime | None
