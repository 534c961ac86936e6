"""A forgotten password: a one-time token goes to the account's address, and whoever reads mail there chooses a new one.

A request is only written down; the control worker looks whose it is. So a request for an address that nobody has is
answered alike, and in the same time.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.bell import ring
from app.core.errors import AppError
from app.core.sealing import Sealer
from app.core.tenancy import TenantID
from app.identity.passwords import forget_tries, password_of
from app.identity.secrets import digest, new_secret
from app.identity.tables import ApiKeyRow, UserRow
from app.mail import service as mail
from app.mail.service import Letter
from app.members import service as members
from app.members.repository import SessionRepository
from app.resets.tables import PasswordResetRow, ResetRequestRow
from whetstone.contract.resets import PasswordReset

TOPIC = "resets"
GOOD_FOR = timedelta(hours=1)
MOST_AT_ONCE = 3  # letters with a token that is still good, so that nobody's mailbox is flooded
TOKEN_START = "whetreset_"  # noqa: S105 - how a token begins


class ResetNotFound(AppError):
    """There is no such reset: it was used, or is older than an hour."""

    code, status = "reset_not_found", 404
    hint = "Ask for another: POST /v1/password-resets."


async def ask(session: AsyncSession, email: str) -> None:
    session.add(ResetRequestRow(email=email.lower()))
    await ring(session, TOPIC)


async def answer_any_tenant(session: AsyncSession, sealer: Sealer, public_url: str, email: str) -> None:
    """Send a token, if the address is someone's who has not just been sent some."""
    user = await session.scalar(select(UserRow).where(UserRow.email == email).with_for_update())
    if user is None:
        return
    now = datetime.now(UTC)
    mine = (PasswordResetRow.user_id == user.id, PasswordResetRow.expires_at > now)
    sent = await session.scalar(select(func.count()).select_from(PasswordResetRow).where(*mine))
    if sent is not None and sent >= MOST_AT_ONCE:
        return
    token = new_secret(TOKEN_START)
    row = PasswordResetRow(digest=digest(token), tenant_id=user.tenant_id, user_id=user.id, expires_at=now + GOOD_FOR)
    session.add(row)
    await mail.post(session, sealer, user.tenant_id, user.email, _letter(public_url, token), now + GOOD_FOR)


async def confirm_any_tenant(session: AsyncSession, sealer: Sealer, wanted: PasswordReset) -> UserRow:
    """Set the new password; every session ends, and on demand every API key. Raises ResetNotFound."""
    now = datetime.now(UTC)
    good = (PasswordResetRow.digest == digest(wanted.token), PasswordResetRow.expires_at > now)
    row = await session.scalar(select(PasswordResetRow).where(*good).with_for_update())
    if row is None:
        raise ResetNotFound
    user = await session.get_one(UserRow, row.user_id, with_for_update=True)
    await members.change_password(session, sealer, user, wanted.password)
    await SessionRepository(session, TenantID(user.tenant_id)).end(user.id)
    await session.execute(delete(PasswordResetRow).where(PasswordResetRow.user_id == user.id))
    await forget_tries(session, password_of(user.email))
    if wanted.end_keys:
        mine = (ApiKeyRow.user_id == user.id, ApiKeyRow.revoked_at.is_(None))
        await session.execute(update(ApiKeyRow).where(*mine).values(revoked_at=now))
    return user


async def sweep(session: AsyncSession) -> None:
    """Forget tokens that are over."""
    await session.execute(delete(PasswordResetRow).where(PasswordResetRow.expires_at < datetime.now(UTC)))


def _letter(public_url: str, token: str) -> Letter:
    return Letter(
        subject="Choose a new password for Whetstone",
        text=(
            "Someone asked for a new password for the Whetstone account of this address.\n\n"
            f"To choose one, open this within an hour; it works once:\n\n{public_url}/reset-password#{token}\n\n"
            f"Or run `whet account reset-password {public_url}` and paste this token:\n\n{token}\n\n"
            "If it was not you, there is nothing to do: the password stays as it is.\n"
        ),
    )
