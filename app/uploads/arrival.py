"""A file arrives as the body of a POST, or has arrived as an upload: kept and inspected once, however often the request
is repeated.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Query, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from app.artifacts import transfers
from app.artifacts.tables import FileRow
from app.core import audit
from app.core.errors import AppError
from app.core.telemetry import add_headers
from app.core.tenancy import Principal
from app.fleet.service import Fleet
from app.identity import once
from app.uploads import service
from app.uploads.service import Kind, RowT
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.types import UploadRef

UploadId = Annotated[
    UploadRef | None, Query(description="a complete upload (`POST /v1/uploads`), in place of the request's body")
]


class TwoFiles(AppError):
    """The request names an upload and has a body too."""

    code, status = "two_files", 422
    hint = "Send the file as the body, or leave the body empty and name the upload."


ARRIVAL_ERRORS = (TwoFiles, transfers.UploadNotFound, transfers.UploadNotComplete)


async def arrive(
    request: Request,
    fleet: Fleet,
    kind: Kind[RowT],
    caller: Principal,
    name: str | None,
    filename: str,
    wait: float,
    labels: dict[str, str],
    preprocessing: Preprocessing | None = None,
    upload_id: str | None = None,
) -> RowT:
    """The row of the file; of the earlier one when this is a repetition, as it is by now.

    No connection is held while bytes stream in, so the Idempotency-Key is looked up once they and their hash are known.
    """
    sessions, announced = request.app.state.sessions, _announced(request)
    if upload_id is not None:
        if announced:
            raise TwoFiles
        use, stored = once.Use.of(caller, request, b""), None
    else:
        stored = await service.receive(sessions, fleet, caller.tenant_id, request.stream(), announced)
        use = once.Use.of(caller, request, stored.sha256.encode())

    async def keep(session: AsyncSession) -> FileRow:
        if stored is not None:
            return await service.keep(session, fleet, caller.tenant_id, stored)
        assert upload_id is not None  # noqa: S101 - one of the two
        return await transfers.take(session, caller.tenant_id, upload_id)

    async def create(session: AsyncSession) -> str:
        file, called = await keep(session), name or filename
        row = await service.create(
            session, fleet, kind, caller.tenant_id, file, called, filename, labels, preprocessing
        )
        return str(row.id)

    row_id, repeated = await _once(request, caller, use, create)
    if repeated and stored is not None:
        await fleet.storage.delete(stored.key)
    return await service.wait_inspected(sessions, request.app.state.bell, kind, caller.tenant_id, row_id, wait)


async def _once(
    request: Request, caller: Principal, use: once.Use | None, create: Callable[[AsyncSession], Awaitable[str]]
) -> tuple[str, bool]:
    """The id of what was created, and whether an earlier request did."""
    sealer = request.app.state.sealer
    async with request.app.state.sessions.begin() as session:
        earlier = None if use is None else await once.earlier(session, sealer, use)
        if earlier is not None:
            add_headers(request.scope, once.REPLAYED)
            return json.loads(bytes(earlier.body))["id"], True
        row_id = await create(session)
        audit.write(session, request, caller.tenant_id, caller.user_id, caller.key_id, row_id)
        if use is not None:
            await once.keep(session, sealer, use, Response(json.dumps({"id": row_id}), 201))
    return row_id, False


def _announced(request: Request) -> int:
    """Bytes; 0 where the caller does not say."""
    given = request.headers.get("Content-Length", "")
    return int(given) if given.isdecimal() else 0
