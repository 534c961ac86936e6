"""Logging in by email address and password, with a lock-out that tells nothing about who has an account."""

import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.errors import AppError
from app.core.scope import Role, acting_as, any_tenant
from app.core.sealing import Sealer
from app.core.signing import InvalidToken, Signer, Use
from app.identity import second_factor
from app.identity.second_factor import WrongCode
from app.identity.secrets import matches
from app.identity.tables import LoginFailureRow, UserRow

FREE_TRIES = 10
TICKET_SECONDS = 300
LONGEST_LOCK = timedelta(hours=1)
FORGOTTEN_AFTER = timedelta(days=1)


class WrongLogin(AppError):
    """The email address or the password is wrong."""

    code, status = "wrong_login", 401


class LockedOut(AppError):
    """Too many wrong passwords, or codes, for this account."""

    code, status = "locked_out", 429
    hint = "Wait as many seconds as Retry-After says; a correct one then clears the count."


class SecondFactorNeeded(AppError):
    """The password is right; this account asks for a code too."""

    code, status = "second_factor_needed", 401
    hint = "Send `ticket` with a code of the authenticator app to this address with `/second-factor` added."


LOGIN_ERRORS = (WrongLogin, LockedOut, SecondFactorNeeded)
CODE_ERRORS = (InvalidToken, LockedOut, WrongCode)


async def check_login(sessions: async_sessionmaker[AsyncSession], signer: Signer, email: str, password: str) -> UserRow:
    """The user with this password. Raises WrongLogin, LockedOut, SecondFactorNeeded.

    An unknown address takes as long and is locked alike.
    """
    with any_tenant():
        await count_try(sessions, password_of(email))
        async with sessions.begin() as session:
            user = await session.scalar(select(UserRow).where(UserRow.email == email.lower()))
            if not matches(password, None if user is None else user.password_hash) or user is None:
                raise WrongLogin
            await forget_tries(session, password_of(email))
            needed = await second_factor.is_on(session, user.id)
    if needed:
        raise SecondFactorNeeded(ticket=ticket_for(signer, user))
    return user


async def check_second_factor(
    sessions: async_sessionmaker[AsyncSession], signer: Signer, sealer: Sealer, ticket: str, code: str
) -> UserRow:
    """The user who was given this ticket, with a code. Raises InvalidToken, LockedOut, WrongCode.

    Codes have a count of their own, which a right password does not clear.
    """
    claims = signer.read(Use.SECOND_FACTOR, ticket)
    with any_tenant():
        async with sessions.begin() as session:
            user = await session.get(UserRow, claims["user_id"])
            if user is None or claims["stamp"] != _stamp(user) or not await second_factor.is_on(session, user.id):
                raise InvalidToken
        await count_try(sessions, code_of(user.email))
        async with sessions.begin() as session:
            await second_factor.check(session, sealer, user.id, code)
            await forget_tries(session, code_of(user.email))
    return user


@asynccontextmanager
async def counted(sessions: async_sessionmaker[AsyncSession], account: bytes) -> AsyncIterator[None]:
    """A try at what protects an account, in the midst of a request: forgotten when it succeeds. Raises LockedOut."""
    with any_tenant():
        await count_try(sessions, account)
    yield
    with any_tenant():
        async with sessions.begin() as session:
            await forget_tries(session, account)


async def count_try(sessions: async_sessionmaker[AsyncSession], account: bytes) -> None:
    """A try is counted before it is looked at, in a transaction of its own: neither an error afterwards nor many tries
    at once leave it out. Raises LockedOut.
    """
    async with sessions.begin() as session:
        await _count(session, account)


def ticket_for(signer: Signer, user: UserRow) -> str:
    """Shows for five minutes that the first step of a log-in was taken."""
    return signer.sign(Use.SECOND_FACTOR, TICKET_SECONDS, user_id=user.id, stamp=_stamp(user))


def _stamp(user: UserRow) -> str:
    """Changes with the password, so that no ticket outlives it."""
    return hashlib.sha256((user.password_hash or "").encode()).hexdigest()[:16]


async def forget_tries(session: AsyncSession, account: bytes) -> None:
    """The count begins anew."""
    await session.execute(delete(LoginFailureRow).where(LoginFailureRow.account == account))


def password_of(email: str) -> bytes:
    """What tries at an account's password are counted under."""
    return hashlib.sha256(email.lower().encode()).digest()


def code_of(email: str) -> bytes:
    """What tries at an account's second factor are counted under."""
    return hashlib.sha256(f"code of {email.lower()}".encode()).digest()


async def forget_any_tenant(session: AsyncSession, emails: Iterable[str]) -> None:
    """Forget failed log-ins to these accounts."""
    accounts = [account for email in emails for account in (password_of(email), code_of(email))]
    async with acting_as(session, Role.ANY_TENANT):
        await session.execute(delete(LoginFailureRow).where(LoginFailureRow.account.in_(accounts)))


async def _count(session: AsyncSession, account: bytes) -> None:
    """Raises LockedOut while the account is locked: a minute after the tenth failure, each time twice as long."""
    now = datetime.now(UTC)
    row = await session.get(LoginFailureRow, account, with_for_update=True)
    if row is not None:
        until = row.last_at + _lock(row.count)
        if until > now:
            raise LockedOut(headers={"Retry-After": str(int((until - now).total_seconds()) + 1)})
    query = insert(LoginFailureRow).values(account=account, count=1, last_at=now)
    again = {"count": func.least(LoginFailureRow.count + 1, 1000), "last_at": now}
    await session.execute(query.on_conflict_do_update(index_elements=["account"], set_=again))


def _lock(failures: int) -> timedelta:
    if failures < FREE_TRIES:
        return timedelta()
    return min(timedelta(minutes=2.0 ** min(failures - FREE_TRIES, 10)), LONGEST_LOCK)


async def sweep(session: AsyncSession) -> None:
    """Forget failures that are over."""
    await session.execute(delete(LoginFailureRow).where(LoginFailureRow.last_at < datetime.now(UTC) - FORGOTTEN_AFTER))
