"""Files of a tenant: kept once per content, and never left behind by a crash (see DoomedObjectRow)."""

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.artifacts.tables import DoomedObjectRow, FileRow
from app.core.ids import Prefix, new_id
from app.core.storage import Storage, StorageUnavailable, Stored
from app.core.tenancy import TenantID

ABANDONED_AFTER = timedelta(days=1)


async def receive(
    sessions: async_sessionmaker[AsyncSession],
    storage: Storage,
    tenant_id: TenantID,
    chunks: AsyncIterator[bytes],
    limit: int,
) -> Stored:
    """Stream bytes into storage; they stay only if `keep` is called for them. Raises UploadTooLarge."""
    key = new_key(tenant_id)
    await doom(sessions, key, datetime.now(UTC) + ABANDONED_AFTER)
    try:
        return await storage.write(key, chunks, limit)
    except BaseException:
        await storage.delete(key)
        raise


def new_key(tenant_id: TenantID) -> str:
    return f"{tenant_id}/{new_id(Prefix.UPLOAD)}"


async def keep(session: AsyncSession, tenant_id: TenantID, stored: Stored) -> FileRow:
    """Keep what was received. If the tenant has the same content already, that is used and the new copy goes."""
    new = FileRow(
        id=new_id(Prefix.FILE),
        tenant_id=tenant_id,
        key=stored.key,
        sha256=stored.sha256,
        size=stored.size,
        proven=stored.proven,
    )
    row = await find(session, tenant_id, stored.sha256) or await _added(session, new)
    if row is None:  # another came in between
        return await keep(session, tenant_id, stored)
    if row.key == stored.key:
        spared = await session.execute(
            delete(DoomedObjectRow)
            .where(DoomedObjectRow.key == stored.key, DoomedObjectRow.gone_at.is_(None))
            .returning(DoomedObjectRow.key)
        )
        if row is new and spared.first() is None:  # it came so late that it is being deleted
            raise StorageUnavailable
    return row


async def _added(session: AsyncSession, row: FileRow) -> FileRow | None:
    """None where the content is proven to be in another file by now."""
    try:
        async with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return None
    return row


async def prove(session: AsyncSession, tenant_id: TenantID, file: FileRow) -> FileRow:
    """The file that stands for this content, now that the bytes were seen to have it: this one, or one that the tenant
    has already.
    """
    if file.proven:
        return file
    other = await find(session, tenant_id, file.sha256)
    if other is not None:
        return other
    try:
        async with session.begin_nested():
            file.proven = True
    except IntegrityError:
        await session.refresh(file)
        return await prove(session, tenant_id, file)
    return file


async def find(session: AsyncSession, tenant_id: TenantID, sha256: str) -> FileRow | None:
    """The tenant's file with this content, held against deletion until the transaction ends."""
    query = select(FileRow).where(FileRow.tenant_id == tenant_id, FileRow.sha256 == sha256, FileRow.proven)
    return await session.scalar(query.with_for_update(read=True, key_share=True))


async def get_many(session: AsyncSession, tenant_id: TenantID, ids: Iterable[str]) -> dict[str, FileRow]:
    rows = await session.scalars(select(FileRow).where(FileRow.tenant_id == tenant_id, FileRow.id.in_(list(ids))))
    return {row.id: row for row in rows}


async def release(session: AsyncSession, tenant_id: TenantID, file_id: str) -> None:
    """Let go of a file: it is deleted unless another row still refers to it, which the database itself checks."""
    row = await session.scalar(
        select(FileRow).where(FileRow.tenant_id == tenant_id, FileRow.id == file_id).with_for_update()
    )
    if row is None:
        return
    try:
        async with session.begin_nested():
            await session.execute(delete(FileRow).where(FileRow.id == row.id))
    except IntegrityError:
        return
    await session.execute(insert(DoomedObjectRow).values(key=row.key, due_at=datetime.now(UTC)))


async def sweep(session: AsyncSession, storage: Storage, links_live: timedelta, limit: int = 100) -> int:
    """Delete objects that are due, and once more when no link to them lives any more. Returns how many."""
    now = datetime.now(UTC)
    due = select(DoomedObjectRow).where(DoomedObjectRow.due_at <= now)
    rows = list(await session.scalars(due.limit(limit).with_for_update(skip_locked=True)))
    for row in rows:
        await storage.delete(row.key)
        if row.gone_at is None:
            row.gone_at, row.due_at = now, now + links_live
        else:
            await session.delete(row)
    return len(rows)


async def doom(sessions: async_sessionmaker[AsyncSession], key: str, due_at: datetime) -> None:
    """Have an object deleted that is about to be written, unless it is kept before."""
    async with sessions.begin() as session:
        session.add(DoomedObjectRow(key=key, due_at=due_at))
