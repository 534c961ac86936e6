"""A second factor: codes of an authenticator app (TOTP, RFC 6238: SHA-1, six digits, 30 seconds), and recovery codes.

The app's secret is kept sealed, recovery codes as hashes. A code is good once: the time step of the last one that was
taken is kept, and no code of that step or an earlier one is taken after it.
"""

import base64
import hmac
import secrets
import time
from datetime import UTC, datetime

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.sealing import Sealer
from app.identity.secrets import digest
from app.identity.tables import RecoveryCodeRow, SecondFactorRow, UserRow
from whetstone.contract.second_factor import SecondFactorRead, SecondFactorSetup

STEP = 30
DRIFT = 1  # steps that the app's clock may be off
RECOVERY_CODES = 10
_SECRET_BYTES = 20
_RECOVERY_BYTES = 10
_DIGITS = 6


class WrongCode(AppError):
    """The code is wrong, is over, or was used before."""

    code, status = "wrong_code", 401
    hint = "Wait for the app's next code, and see that its clock is right; or use a recovery code."


class SecondFactorOn(AppError):
    """A second factor is on already."""

    code, status = "second_factor_on", 409
    hint = "Disable it first."


class SecondFactorNotFound(AppError):
    """There is no second factor."""

    code, status = "second_factor_not_found", 404
    hint = "Set one up: PUT /v1/me/second-factor."


async def is_on(session: AsyncSession, user_id: str) -> bool:
    row = await session.get(SecondFactorRow, user_id)
    return row is not None and row.confirmed_at is not None


async def read(session: AsyncSession, user_id: str) -> SecondFactorRead:
    row = await session.get(SecondFactorRow, user_id)
    left = select(func.count()).select_from(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user_id)
    since = None if row is None else row.confirmed_at
    return SecondFactorRead(enabled=since is not None, since=since, recovery_codes_left=await session.scalar(left) or 0)


async def set_up(session: AsyncSession, sealer: Sealer, user: UserRow) -> SecondFactorSetup:
    """A new secret, which is asked for once a code of it was confirmed. Raises SecondFactorOn."""
    row = await session.get(SecondFactorRow, user.id, with_for_update=True)
    if row is None:
        row = SecondFactorRow(user_id=user.id, tenant_id=user.tenant_id, last_step=0)
        session.add(row)
    elif row.confirmed_at is not None:
        raise SecondFactorOn
    secret = secrets.token_bytes(_SECRET_BYTES)
    row.secret = sealer.seal(secret)
    uri = _totp(secret).get_provisioning_uri(user.email, "Whetstone")
    return SecondFactorSetup(uri=uri, secret=base64.b32encode(secret).decode())


async def confirm(session: AsyncSession, sealer: Sealer, user_id: str, code: str) -> tuple[str, ...]:
    """Switch it on; returns the recovery codes. Raises SecondFactorNotFound, SecondFactorOn, WrongCode."""
    row = await _locked(session, user_id)
    if row.confirmed_at is not None:
        raise SecondFactorOn
    _take(sealer, row, code)
    row.confirmed_at = datetime.now(UTC)
    return await _new_recovery_codes(session, row)


async def renew_recovery_codes(session: AsyncSession, sealer: Sealer, user_id: str, code: str) -> tuple[str, ...]:
    """Raises SecondFactorNotFound, WrongCode."""
    await check(session, sealer, user_id, code)
    return await _new_recovery_codes(session, await _locked(session, user_id))


async def check(session: AsyncSession, sealer: Sealer, user_id: str, code: str) -> None:
    """Use up a code of the app, or a recovery code. Raises SecondFactorNotFound, WrongCode."""
    row = await _locked(session, user_id)
    if row.confirmed_at is None:
        raise SecondFactorNotFound
    if len(code.replace(" ", "")) == _DIGITS:
        _take(sealer, row, code)
        return
    mine = (RecoveryCodeRow.user_id == user_id, RecoveryCodeRow.digest == _recovery_digest(code))
    if await session.scalar(delete(RecoveryCodeRow).where(*mine).returning(RecoveryCodeRow.user_id)) is None:
        raise WrongCode


async def switch_off(session: AsyncSession, user_id: str) -> None:
    """Raises SecondFactorNotFound."""
    await session.delete(await _locked(session, user_id))
    await session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user_id))


async def _locked(session: AsyncSession, user_id: str) -> SecondFactorRow:
    row = await session.get(SecondFactorRow, user_id, with_for_update=True)
    if row is None:
        raise SecondFactorNotFound
    return row


def _take(sealer: Sealer, row: SecondFactorRow, code: str) -> None:
    step = matching_step(sealer.open(row.secret), code, time.time(), row.last_step)
    if step is None:
        raise WrongCode
    row.last_step = step


def matching_step(secret: bytes, code: str, now: float, after: int) -> int | None:
    """The time step (30 seconds since 1970) that a code is of, within the drift of `now` and later than `after`."""
    totp, here = _totp(secret), int(now) // STEP
    for step in range(max(here - DRIFT, after + 1), here + DRIFT + 1):
        if hmac.compare_digest(totp.generate(step * STEP), code.replace(" ", "").encode()):
            return step
    return None


def _totp(secret: bytes) -> TOTP:
    return TOTP(secret, _DIGITS, SHA1(), STEP)  # noqa: S303 - what authenticator apps understand; HMAC needs no more


async def _new_recovery_codes(session: AsyncSession, row: SecondFactorRow) -> tuple[str, ...]:
    await session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == row.user_id))
    codes = tuple(_recovery_code() for _ in range(RECOVERY_CODES))
    session.add_all(
        RecoveryCodeRow(digest=_recovery_digest(code), tenant_id=row.tenant_id, user_id=row.user_id) for code in codes
    )
    return codes


def _recovery_code() -> str:
    """80 random bits in groups of four letters."""
    letters = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def _recovery_digest(code: str) -> bytes:
    return digest(code.replace("-", "").replace(" ", "").lower())
