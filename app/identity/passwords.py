"""Logging in by email address and password, with a lock-out that tells nothing about who has an account."""

import hashlib
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.core.errors import AppError
from app.core.scope import any_tenant
from app.identity.secrets import passwords
from app.identity.tables import LoginFailureRow, UserRow

FREE_TRIES = 10
LONGEST_LOCK = timedelta(hours=1)
FORGOTTEN_AFTER = timedelta(days=1)


class WrongLogin(AppError):
    """The email address or the password is wrong."""

    code, status = "wrong_login", 401


class LockedOut(AppError):
    """Too many wrong passwords for this email address."""

    code, status = "locked_out", 429
    hint = "Wait as many seconds as Retry-After says; a correct password then clears the count."


LOGIN_ERRORS = (WrongLogin, LockedOut)


async def check_login(sessions: async_sessionmaker[AsyncSession], email: str, password: str) -> UserRow:
    """The user with this password. Raises WrongLogin, LockedOut.

    An unknown address takes as long and is locked alike. A try is counted before it is looked at, in a transaction of
    its own: neither an error afterwards nor many tries at once leave it out.
    """
    with any_tenant():
        async with sessions.begin() as session:
            await _count(session, _account(email))
        async with sessions.begin() as session:
            user = await session.scalar(select(UserRow).where(UserRow.email == email.lower()))
            if user is None:
                passwords().hash(password)
                raise WrongLogin
            if not passwords().verify(password, user.password_hash):
                raise WrongLogin
            await forget_failures(session, email)
    return user


async def forget_failures(session: AsyncSession, email: str) -> None:
    """The account's count begins anew."""
    await session.execute(delete(LoginFailureRow).where(LoginFailureRow.account == _account(email)))


def _account(email: str) -> bytes:
    return hashlib.sha256(email.lower().encode()).digest()


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
