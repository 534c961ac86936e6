"""Signing what was made, and telling with which keys."""

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.tenancy import TenantID
from app.provenance.keys import SigningKey
from app.provenance.tables import ManifestRow, SigningKeyRow
from whetstone.contract.provenance import Envelope, SigningKeyRead, Statement


async def sign(session: AsyncSession, key: SigningKey, tenant_id: TenantID, statement: Statement) -> Envelope:
    """Sign, and keep what was signed with the public key that proves it."""
    await publish(session, key)
    envelope, about = key.sign(statement), statement.predicate
    session.add(ManifestRow(step_id=about.step_id, tenant_id=tenant_id, job_id=about.job_id, envelope=envelope))
    await session.flush()
    return envelope


async def publish(session: AsyncSession, key: SigningKey) -> None:
    """Keep the public key that proves what is signed."""
    public = {"keyid": key.keyid, "public_key": key.public_pem}
    await session.execute(insert(SigningKeyRow).values(public).on_conflict_do_nothing())


async def of_job(session: AsyncSession, tenant_id: TenantID, job_id: str) -> dict[str, Envelope]:
    """By step, in the order they were signed."""
    mine = select(ManifestRow).where(ManifestRow.tenant_id == tenant_id, ManifestRow.job_id == job_id)
    return {row.step_id: row.envelope for row in await session.scalars(mine.order_by(ManifestRow.step_id))}


async def keys(session: AsyncSession, current: SigningKey) -> tuple[SigningKeyRead, ...]:
    """Every key that has signed, oldest first, and the one that will sign next."""
    rows = list(await session.scalars(select(SigningKeyRow).order_by(SigningKeyRow.created_at, SigningKeyRow.keyid)))
    known = [_read(row, current) for row in rows]
    if any(key.current for key in known):
        return tuple(known)
    unused = SigningKeyRow(keyid=current.keyid, public_key=current.public_pem, created_at=datetime.now(UTC))
    return (*known, _read(unused, current))


def _read(row: SigningKeyRow, current: SigningKey) -> SigningKeyRead:
    return SigningKeyRead(
        keyid=row.keyid, public_key=row.public_key, current=row.keyid == current.keyid, created_at=row.created_at
    )
