"""Deleting a tenant: all its rows, objects and keys, and the proof that nothing is left.

It happens twice. What was begun before the first time, such as an upload by a link that still lives, may bring
something back; once no link lives any more all is deleted again, looked for, and the tenant itself goes with a receipt.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.closing.broker import BrokerTraces
from app.closing.receipts import keep_receipt
from app.closing.tables import ClosingRow, Counts
from app.core import catalogue
from app.core.audit import AuditRow
from app.core.scope import Role, acting_as
from app.core.storage import Storage
from app.core.tenancy import TenantID
from app.identity import passwords
from app.identity.tables import UserRow
from app.provenance.keys import SigningKey
from app.resets.tables import ResetRequestRow
from app.tenants.tables import TenantRow
from whetstone.contract.tenants import DeletionReceipt

_LAST = {"tenants", ClosingRow.__tablename__}


class SomethingLeft(RuntimeError):
    """A tenant that was deleted has left something; it is tried again."""


@dataclass(frozen=True)
class Places:
    """Where a tenant's things are, besides the database."""

    storage: Storage
    broker: BrokerTraces
    signing_key: SigningKey


async def purge(session: AsyncSession, places: Places, row: ClosingRow) -> None:
    """Delete everything but the tenant's own row and this one. The transaction must be confined to the tenant."""
    tenant_id = TenantID(row.tenant_id)
    await _hold(session, tenant_id)
    people = select(UserRow.email).where(UserRow.tenant_id == tenant_id, UserRow.email.is_not(None))
    emails = [email for email in await session.scalars(people) if email is not None]
    await _forget_accounts(session, emails)
    row.rows = _added(row.rows, await _delete_rows(session, tenant_id))
    row.objects += await _delete_objects(places.storage, tenant_id)
    await places.broker.remove(tenant_id)
    row.purged_at = row.purged_at or datetime.now(UTC)


async def finish(session: AsyncSession, places: Places, row: ClosingRow) -> None:
    """Once more, then look, then let the tenant go. Raises SomethingLeft."""
    tenant_id, requested_at, receipt_id = TenantID(row.tenant_id), row.requested_at, row.receipt_id
    await purge(session, places, row)
    rows, objects = row.rows, row.objects
    await session.delete(row)
    await session.flush()  # the tenant can only go after the row that refers to it
    await session.execute(delete(TenantRow).where(TenantRow.id == tenant_id))
    checked = await prove_gone(session, places, tenant_id)
    receipt = DeletionReceipt(
        id=receipt_id,
        tenant_sha256=hashlib.sha256(tenant_id.encode()).hexdigest(),
        requested_at=requested_at,
        finished_at=datetime.now(UTC),
        rows=rows,
        objects=objects,
        checked=checked,
    )
    await keep_receipt(session, places.signing_key, receipt)


async def prove_gone(session: AsyncSession, places: Places, tenant_id: TenantID) -> tuple[str, ...]:
    """The tables that were looked through. Raises SomethingLeft."""
    tables = await catalogue.tables(session)
    left = {table.name: found for table in tables if (found := await catalogue.count(session, table, tenant_id))}
    objects = [key async for key in places.storage.keys(f"{tenant_id}/")]
    keys = await places.broker.find(tenant_id)
    if left or objects or keys:
        raise SomethingLeft(f"rows: {left}, objects: {len(objects)}, keys of the broker: {len(keys)}")
    return tuple(sorted(table.name for table in tables))


async def _hold(session: AsyncSession, tenant_id: TenantID) -> None:
    """Nobody adds a row that refers to the tenant until this transaction ends."""
    await session.execute(select(TenantRow.id).where(TenantRow.id == tenant_id).with_for_update())


async def _forget_accounts(session: AsyncSession, emails: list[str]) -> None:
    """What is noted of an email address before it is known whose it is."""
    await passwords.forget_any_tenant(session, emails)
    async with acting_as(session, Role.ANY_TENANT):
        await session.execute(delete(ResetRequestRow).where(ResetRequestRow.email.in_(emails)))


async def _delete_rows(session: AsyncSession, tenant_id: TenantID) -> Counts:
    """How many of each table; each before those that its rows refer to."""
    gone: Counts = {}
    for table in await catalogue.tables(session):
        if table.name in _LAST:
            continue
        if table.name == AuditRow.__tablename__:
            async with acting_as(session, Role.RETENTION):
                gone[table.name] = await _delete_from(session, table, tenant_id)
        else:
            gone[table.name] = await _delete_from(session, table, tenant_id)
    return gone


async def _delete_from(session: AsyncSession, table: catalogue.Table, tenant_id: TenantID) -> int:
    done = await session.execute(table.rows("delete"), {"tenant_id": tenant_id})
    return int(done.rowcount)  # type: ignore[attr-defined] # a deletion's result counts


async def _delete_objects(storage: Storage, tenant_id: TenantID) -> int:
    keys = {key.partition("#")[0] async for key in storage.keys(f"{tenant_id}/")}
    for key in sorted(keys):
        await storage.delete(key)
    return len(keys)


def _added(one: Counts, other: Counts) -> Counts:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}
