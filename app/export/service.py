"""Everything of a tenant as one archive, made while it is sent: JSON Lines for each table, and links to the files."""

import json
import re
import zipfile
from collections.abc import AsyncIterator
from typing import IO, cast

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.artifacts.tables import ArtifactRow, FileRow
from app.core import catalogue
from app.core.catalogue import Table
from app.core.storage import Storage
from app.core.tenancy import TenantID
from app.datasets.tables import DatasetRow
from app.models.tables import ModelRow

BATCH = 500
LINKS = "file-links.jsonl"
SECRET = re.compile(r"password|secret|token|digest|hash")
LEFT_OUT = {"outbox", "stored_answers", catalogue.DOOMED.name}
"""What only the service's own machinery needs; some of it holds secrets."""

_READ_ME = f"""One file for each kind of thing, one JSON object a line, as the service keeps it. Secrets are left out.
{LINKS} has a link to each file, by its SHA-256; links expire.
"""
_COLUMNS = text("""
    select attname, atttypid = 'bytea'::regtype from pg_attribute
    where attrelid = to_regclass(quote_ident(:name)) and attnum > 0 and not attisdropped
""")


class _Sent:
    """What zipfile writes to: handed on as it comes, never held."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def write(self, content: bytes) -> int:
        self._waiting.append(bytes(content))
        return len(content)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self._waiting = b"".join(self._waiting), []
        return taken


async def stream(
    sessions: async_sessionmaker[AsyncSession], storage: Storage, tenant_id: TenantID
) -> AsyncIterator[bytes]:
    """A zip file. Each table is read at a moment of its own."""
    sent = _Sent()
    with zipfile.ZipFile(cast("IO[bytes]", sent), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", _READ_ME)
        async with sessions() as session:
            tables = [table for table in await catalogue.tables(session) if table.name not in LEFT_OUT]
        for name, lines in [
            *((f"{table.name}.jsonl", _rows(sessions, table, tenant_id)) for table in sorted(tables, key=_name)),
            (LINKS, _links(sessions, storage, tenant_id)),
        ]:
            with archive.open(name, "w", force_zip64=True) as member:
                async for line in lines:
                    member.write(line.encode() + b"\n")
                    if content := sent.take():
                        yield content
    yield sent.take()


def _name(table: Table) -> str:
    return table.name


async def _rows(sessions: async_sessionmaker[AsyncSession], table: Table, tenant_id: TenantID) -> AsyncIterator[str]:
    async with sessions() as session:
        columns = await session.execute(_COLUMNS, {"name": table.name})
        hidden = [name for name, is_bytes in columns if is_bytes or is_secret(name)]
        query = table.rows("select (to_jsonb(t) - cast(:hidden as text[]))::text")
        found = await session.stream_scalars(
            query, {"hidden": hidden, "tenant_id": tenant_id}, execution_options={"yield_per": BATCH}
        )
        async for line in found:
            yield str(line)


def is_secret(column: str) -> bool:
    return SECRET.search(column) is not None


async def _links(
    sessions: async_sessionmaker[AsyncSession], storage: Storage, tenant_id: TenantID
) -> AsyncIterator[str]:
    """For each file its names and a link."""
    after = ""
    while True:
        async with sessions() as session:
            query = select(FileRow).where(FileRow.tenant_id == tenant_id, FileRow.id > after)
            rows = list(await session.scalars(query.order_by(FileRow.id).limit(BATCH)))
            names = await _names(session, tenant_id, [row.id for row in rows])
        for row in rows:
            known = sorted(names.get(row.id, {row.sha256}))
            told = {"sha256": row.sha256, "size": row.size, "names": known}
            yield json.dumps(told | {"url": storage.download_url(row.key, known[0])})
        if len(rows) < BATCH:
            return
        after = rows[-1].id


async def _names(session: AsyncSession, tenant_id: TenantID, file_ids: list[str]) -> dict[str, set[str]]:
    """What files are called by those that have them."""
    names: dict[str, set[str]] = {}
    for row, name in (
        (ModelRow, ModelRow.filename),
        (DatasetRow, DatasetRow.filename),
        (ArtifactRow, ArtifactRow.name),
    ):
        query = select(row.file_id, name).where(row.tenant_id == tenant_id, row.file_id.in_(file_ids))
        for file_id, found in await session.execute(query):
            names.setdefault(file_id, set()).add(found)
    return names
