"""Uploads that go straight to the storage: announced, sent by signed links, completed; or gone on with, or expired."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.artifacts import files
from app.artifacts.tables import DoomedObjectRow, FileRow, UploadRow
from app.core.errors import AppError
from app.core.storage import Storage, Transfer, WrongContent, part_size_of
from app.core.tenancy import TenantID, TenantRepository
from whetstone.contract.uploads import PartLink, UploadCreate, UploadParts, UploadRead, UploadState

MOST_LINKS = 100


class UploadNotFound(AppError):
    """There is no such upload, or it has expired."""

    code, status = "upload_not_found", 404


class UploadNotComplete(AppError):
    """The upload is not complete, so nothing can be made of it yet."""

    code, status = "upload_not_complete", 409
    hint = "Send its parts, then POST to its `complete`."


class UploadRepository(TenantRepository[UploadRow]):
    row, missing = UploadRow, UploadNotFound

    async def like(self, wanted: UploadCreate) -> UploadRow | None:
        query = self.query().where(UploadRow.sha256 == wanted.sha256, UploadRow.size == wanted.size)
        found: UploadRow | None = await self.session.scalar(query)
        return found


async def begin(
    session: AsyncSession,
    sessions: async_sessionmaker[AsyncSession],
    storage: Storage,
    tenant_id: TenantID,
    wanted: UploadCreate,
    lives: timedelta,
) -> UploadRow:
    """A new upload; complete at once where the tenant has this content; the one that was begun with it before."""
    uploads, ends = UploadRepository(session, tenant_id), datetime.now(UTC) + lives
    earlier = await uploads.like(wanted)
    if earlier is not None and earlier.expires_at > datetime.now(UTC):
        return earlier
    if earlier is not None:
        await drop(session, tenant_id, earlier)
    file = await files.find(session, tenant_id, wanted.sha256)
    key = files.new_key(tenant_id)
    transfer = Transfer(key, wanted.sha256, wanted.size, part_size_of(wanted.size))
    if file is None:
        await files.doom(sessions, key, ends)
        transfer = await storage.begin(transfer)
    values = {
        "id": key.rpartition("/")[2],
        "tenant_id": tenant_id,
        **wanted.model_dump(),
        "part_size": transfer.part_size,
        "key": key,
        "multipart": transfer.multipart,
        "file_id": None if file is None else file.id,
        "expires_at": ends,
    }
    await session.execute(insert(UploadRow).values(**values).on_conflict_do_nothing())
    found = await uploads.like(wanted)
    assert found is not None  # noqa: S101 - this one, or the one that came in between, whose object is doomed
    return found


async def missing_parts(storage: Storage, row: UploadRow, after: int, limit: int) -> UploadParts:
    """Links for parts later than number `after` that have not arrived."""
    if row.file_id is not None:
        return UploadParts(items=())
    transfer = transfer_of(row)
    there = await storage.arrived(transfer)
    missing = [number for number in range(after + 1, transfer.parts + 1) if number not in there]
    items = await asyncio.to_thread(links, storage, transfer, missing[:limit])
    return UploadParts(items=items, next_after=missing[limit - 1] if len(missing) > limit else None)


def links(storage: Storage, transfer: Transfer, numbers: list[int]) -> tuple[PartLink, ...]:
    return tuple(storage.link(transfer, number) for number in numbers)


async def complete(
    session: AsyncSession,
    sessions: async_sessionmaker[AsyncSession],
    storage: Storage,
    tenant_id: TenantID,
    upload_id: str,
    check: Callable[[bytes], None],
) -> UploadRow:
    """Put the parts together and keep the file. What `check` says against its first bytes, or other bytes than were
    announced, ends the upload. Raises UploadNotFound, PartsMissing, WrongContent.
    """
    uploads = UploadRepository(session, tenant_id)
    row = await uploads.get(upload_id)
    if row.file_id is not None:
        return row
    try:
        stored = await storage.finish(transfer_of(row))
        check(await storage.head(stored.key))
    except AppError as error:
        if error.status == WrongContent.status:  # all that is wrong with the bytes themselves
            await _discard(sessions, tenant_id, upload_id)
        raise
    row = await uploads.get(upload_id, for_update=True)
    if row.file_id is None:
        row.file = await files.keep(session, tenant_id, stored)
        await session.flush()  # the answer shows that it is complete
    return row


async def _discard(sessions: async_sessionmaker[AsyncSession], tenant_id: TenantID, upload_id: str) -> None:
    """In a transaction of its own: that of the request is taken back."""
    async with sessions.begin() as session:
        await drop(session, tenant_id, await UploadRepository(session, tenant_id).get(upload_id, for_update=True))


async def take(session: AsyncSession, tenant_id: TenantID, upload_id: str) -> FileRow:
    """The file of a complete upload, which ends with that. Raises UploadNotFound, UploadNotComplete."""
    row = await UploadRepository(session, tenant_id).get(upload_id, for_update=True)
    if row.file is None:
        raise UploadNotComplete
    await session.delete(row)
    return row.file


async def drop(session: AsyncSession, tenant_id: TenantID, row: UploadRow) -> None:
    """End an upload that nothing is made of."""
    await session.delete(row)
    await session.flush()  # the file can only go after the row that refers to it
    if row.file_id is not None:
        await files.release(session, tenant_id, row.file_id)
    else:
        due_now = {"due_at": datetime.now(UTC)}
        query = insert(DoomedObjectRow).values(key=row.key, **due_now)
        await session.execute(query.on_conflict_do_update(index_elements=["key"], set_=due_now))


async def announced_bytes(session: AsyncSession, tenant_id: TenantID) -> int:
    """What open uploads will take."""
    query = select(func.coalesce(func.sum(UploadRow.size), 0)).where(
        UploadRow.tenant_id == tenant_id, UploadRow.file_id.is_(None), UploadRow.expires_at > datetime.now(UTC)
    )
    return int(await session.scalar(query) or 0)


async def sweep(session: AsyncSession, limit: int = 100) -> int:
    """End uploads that have expired, of any tenant. Returns how many."""
    due = select(UploadRow).where(UploadRow.expires_at <= datetime.now(UTC)).limit(limit)
    rows = list(await session.scalars(due.with_for_update(of=UploadRow, skip_locked=True)))
    for row in rows:
        await drop(session, TenantID(row.tenant_id), row)
    return len(rows)


def transfer_of(row: UploadRow) -> Transfer:
    return Transfer(row.key, row.sha256, row.size, row.part_size, row.multipart)


def read(row: UploadRow) -> UploadRead:
    return UploadRead(
        id=row.id,
        state=UploadState.OPEN if row.file_id is None else UploadState.COMPLETE,
        size=row.size,
        sha256=row.sha256,
        part_size=row.part_size,
        parts=transfer_of(row).parts,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
