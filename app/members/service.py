"""Members of a tenant: invited, promoted, removed; their passwords and sessions."""

from datetime import UTC, datetime

from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.sealing import Sealer
from app.core.tenancy import Principal, TenantID
from app.identity import second_factor
from app.identity.passwords import WrongLogin, counted, password_of
from app.identity.secrets import digest, matches, new_secret, passwords
from app.identity.service import Forbidden, create_user
from app.identity.tables import InvitationRow, SessionRow, UserRow
from app.mail import service as mail
from app.mail.service import Letter
from app.members import letters
from app.members.repository import INVITED_FOR, MemberNotFound, MemberRepository, SessionRepository, invited_any_tenant
from whetstone.contract.identity import Role
from whetstone.contract.members import (
    InvitationAccept,
    InvitationCreate,
    InvitationCreated,
    InvitationRead,
    MemberRead,
    SessionRead,
)


class LastOwner(AppError):
    """The tenant would have no owner left."""

    code, status = "last_owner", 409
    hint = "Make another member owner first."


class EmailTaken(AppError):
    """Someone with this email address has an account already."""

    code, status = "email_taken", 409
    hint = "Have another address invited; an address belongs to one tenant."


def _check_owner(caller: Principal, *roles: str) -> None:
    """Only an owner makes, changes or removes owners."""
    if Role.OWNER in roles and caller.role is not Role.OWNER:
        raise Forbidden("Only an owner may do this to an owner, or make one.")


async def change_role(session: AsyncSession, caller: Principal, row: UserRow, role: Role) -> None:
    """The row must be locked. Raises Forbidden, LastOwner."""
    _check_owner(caller, row.role, role)
    if row.role == Role.OWNER != role and await MemberRepository(session, caller.tenant_id).lock_owners() == 1:
        raise LastOwner
    row.role = role
    # Whoever was let in as something else signs in anew; a key's scopes are looked up each time.
    await SessionRepository(session, caller.tenant_id).end(row.id, but=caller.key_id)


async def remove_second_factor(session: AsyncSession, sealer: Sealer, caller: Principal, row: UserRow) -> None:
    """The row must be locked. Raises Forbidden, SecondFactorNotFound."""
    _check_owner(caller, row.role)
    await second_factor.switch_off(session, row.id)
    await SessionRepository(session, caller.tenant_id).end(row.id, but=caller.key_id)
    await tell_second_factor(session, sealer, row, on=False)


async def remove(session: AsyncSession, caller: Principal, row: UserRow) -> None:
    """The member's keys and sessions end with the member. The row must be locked. Raises Forbidden, LastOwner."""
    _check_owner(caller, row.role)
    if row.role == Role.OWNER and await MemberRepository(session, caller.tenant_id).lock_owners() == 1:
        raise LastOwner
    await session.delete(row)


async def invite(
    session: AsyncSession, sealer: Sealer, public_url: str, caller: Principal, wanted: InvitationCreate
) -> InvitationCreated:
    """The invitation, which is sent to the address too. Raises Forbidden."""
    _check_owner(caller, wanted.role)
    token, now = new_secret("whetinv_"), datetime.now(UTC)
    row = InvitationRow(
        id=new_id(Prefix.INVITATION),
        tenant_id=caller.tenant_id,
        email=wanted.email,
        role=wanted.role,
        digest=digest(token),
        created_at=now,
        expires_at=now + INVITED_FOR,
    )
    session.add(row)
    letter = letters.invitation(public_url, wanted.role, token)
    await mail.post(session, sealer, caller.tenant_id, wanted.email, letter, row.expires_at)
    return InvitationCreated(**dict(read_invitation(row)), token=token)


async def accept(session: AsyncSession, wanted: InvitationAccept) -> UserRow:
    """Make the invited user. Whoever has the token proves to have been invited; it is good once."""
    invitation = await invited_any_tenant(session, wanted.token)
    tenant_id, role = TenantID(invitation.tenant_id), Role(invitation.role)
    try:
        async with session.begin_nested():
            user = await create_user(session, tenant_id, invitation.email, wanted.password.get_secret_value(), role)
    except IntegrityError as error:  # of two at once
        raise EmailTaken from error
    await session.delete(invitation)
    await session.refresh(user)
    return user


async def oneself(session: AsyncSession, caller: Principal) -> UserRow:
    """The caller, locked. Raises Forbidden for a service account."""
    try:
        return await MemberRepository(session, caller.tenant_id).get(caller.user_id, for_update=True)
    except MemberNotFound as error:
        raise Forbidden("A service account has neither a password nor a second factor.") from error


async def reauthenticate(
    session: AsyncSession, sessions: async_sessionmaker[AsyncSession], caller: Principal, password: SecretStr
) -> UserRow:
    """The caller, locked, who has shown the password again. Raises WrongLogin, LockedOut."""
    user = await oneself(session, caller)
    async with counted(sessions, password_of(user.email)):
        if not matches(password.get_secret_value(), user.password_hash):
            raise WrongLogin
    return user


async def change_password(session: AsyncSession, sealer: Sealer, user: UserRow, password: SecretStr) -> None:
    user.password_hash = passwords().hash(password.get_secret_value())
    await _tell(session, sealer, user, letters.password_changed())


async def tell_second_factor(session: AsyncSession, sealer: Sealer, user: UserRow, *, on: bool) -> None:
    await _tell(session, sealer, user, letters.second_factor(on=on))


async def _tell(session: AsyncSession, sealer: Sealer, user: UserRow, letter: Letter) -> None:
    until = datetime.now(UTC) + letters.NEWS_FOR
    await mail.post(session, sealer, user.tenant_id, user.email, letter, until)


async def renew_session(session: AsyncSession, caller: Principal) -> str | None:
    """End every session of the caller's but this one, which gets a new secret; None where an API key asks."""
    repository = SessionRepository(session, caller.tenant_id)
    await repository.end(caller.user_id, but=caller.key_id)
    if not caller.key_id.startswith(f"{Prefix.SESSION}_"):
        return None
    row, secret = await repository.get(caller.key_id, for_update=True), new_secret("")
    row.digest = digest(secret)
    return secret


async def sign_in(session: AsyncSession, user: UserRow, address: str, browser: str) -> tuple[SessionRow, str]:
    """A new session, and the secret of its cookie. A new secret for each: none can be planted before."""
    secret = new_secret("")
    row = SessionRow(
        id=new_id(Prefix.SESSION),
        tenant_id=user.tenant_id,
        user_id=user.id,
        digest=digest(secret),
        address=address[:50],
        browser=browser[:200],
    )
    session.add(row)
    await session.flush()  # the answer shows created_at
    await session.refresh(row)
    return row, secret


def read(row: UserRow) -> MemberRead:
    return MemberRead(id=row.id, email=row.email, role=Role(row.role), created_at=row.created_at)


def read_invitation(row: InvitationRow) -> InvitationRead:
    return InvitationRead(
        id=row.id, email=row.email, role=Role(row.role), created_at=row.created_at, expires_at=row.expires_at
    )


def read_session(row: SessionRow, caller_key: str) -> SessionRead:
    return SessionRead(
        id=row.id,
        current=row.id == caller_key,
        address=row.address,
        browser=row.browser,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
    )
