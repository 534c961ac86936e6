"""People of a tenant: roles, invitations, passwords, sessions."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from whetstone.contract.identity import Role
from whetstone.contract.types import Contract, InvitationRef, SessionRef, UserRef

Email = Annotated[
    str,
    StringConstraints(
        max_length=320,
        pattern=r"^[^\s@()<>\[\]:;,\\\"]+@[^\s@()<>\[\]:;,\\\"]+\.[^\s@.()<>\[\]:;,\\\"]+$",
        strip_whitespace=True,
        to_lower=True,
    ),
]
NewPassword = Annotated[SecretStr, Field(min_length=10, max_length=1000)]


class MemberRead(Contract):
    """A user of the tenant."""

    id: UserRef
    email: str
    role: Role
    created_at: datetime


class MemberChange(Contract):
    role: Role


class InvitationCreate(Contract):
    """Invite someone by mail; the token lets whoever has it join once, within seven days."""

    email: Email
    role: Role = Role.MEMBER


class InvitationRead(Contract):
    """An invitation that nobody has taken up yet."""

    id: InvitationRef
    email: str
    role: Role
    created_at: datetime
    expires_at: datetime


class InvitationCreated(InvitationRead):
    """A new invitation. A link is sent to the address; `token`, shown this once, does the same."""

    token: str


class InvitationAccept(Contract):
    """Join the tenant that sent this token, with a password of one's own."""

    token: Annotated[str, Field(min_length=1, max_length=200)]
    password: NewPassword


class PasswordChange(Contract):
    """A new password. Every session but this one ends."""

    old: Annotated[SecretStr, Field(min_length=1, max_length=1000)]
    new: NewPassword


class SessionRead(Contract):
    """A browser that is signed in."""

    id: SessionRef
    current: bool
    address: str
    browser: str
    created_at: datetime
    last_seen_at: datetime
