"""Uploads that go straight to the storage, in parts where they are large."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.artifacts import transfers
from app.core.database import Session
from app.core.errors import problems
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import SessionsDep, StorageDep
from app.core.storage import PartsMissing, StorageUnavailable, UploadTooLarge, WrongContent
from app.fleet.endpoints import FleetDep
from app.identity.caller import GUARDED, Caller, Writer
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.routing import Route
from app.uploads import service
from app.uploads.sniff import EmptyFile, UnsafeFile, UnsupportedFormat, check_head
from app.usage.quotas import QuotaExceeded
from whetstone.contract.pages import Page
from whetstone.contract.types import UploadRef
from whetstone.contract.uploads import UploadCreate, UploadParts, UploadRead

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=Route)

After = Annotated[int, Query(ge=0, le=10_000, description="`next_after` of the page before")]
Most = Annotated[int, Query(ge=1, le=transfers.MOST_LINKS, description="links a page")]


@router.post(
    "",
    status_code=201,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, EmptyFile, UploadTooLarge, QuotaExceeded, StorageUnavailable),
)
async def begin_upload(
    body: UploadCreate, caller: Writer, session: Session, sessions: SessionsDep, fleet: FleetDep
) -> UploadRead:
    """Announce a file. The same file announced again is the same upload, so that it can be gone on with; one that is
    here already is complete at once.
    """
    return transfers.read(await service.announce(session, sessions, fleet, caller.tenant_id, body))


@router.get("", responses=problems(*GUARDED, InvalidCursor))
async def list_uploads(caller: Caller, session: Session, paging: Paging) -> Page[UploadRead]:
    """Uploads that nothing was made of yet, newest first."""
    page = await transfers.UploadRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(transfers.read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/{upload_id}", responses=problems(*GUARDED, transfers.UploadNotFound))
async def get_upload(upload_id: UploadRef, caller: Caller, session: Session) -> UploadRead:
    """One upload."""
    return transfers.read(await transfers.UploadRepository(session, caller.tenant_id).get(upload_id))


@router.get("/{upload_id}/parts", responses=problems(*GUARDED, transfers.UploadNotFound, StorageUnavailable))
async def list_missing_parts(
    upload_id: UploadRef,
    caller: Writer,
    sessions: SessionsDep,
    storage: StorageDep,
    after: After = 0,
    limit: Most = transfers.MOST_LINKS,
) -> UploadParts:
    """Where to PUT the parts that have not arrived, in any order and as many at once as you like."""
    async with sessions() as session:
        row = await transfers.UploadRepository(session, caller.tenant_id).get(upload_id)
    return await transfers.missing_parts(storage, row, after, limit)


@router.post(
    "/{upload_id}/complete",
    dependencies=[ONCE],
    responses=problems(
        *GUARDED,
        *ONCE_ERRORS,
        transfers.UploadNotFound,
        PartsMissing,
        WrongContent,
        EmptyFile,
        UnsafeFile,
        UnsupportedFormat,
        StorageUnavailable,
    ),
)
async def complete_upload(
    upload_id: UploadRef, caller: Writer, session: Session, sessions: SessionsDep, storage: StorageDep
) -> UploadRead:
    """All parts are there. What is refused here is thrown away with its upload."""
    row = await transfers.complete(session, sessions, storage, caller.tenant_id, upload_id, check_head)
    return transfers.read(row)


@router.delete(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, transfers.UploadNotFound),
)
async def abort_upload(upload_id: UploadRef, caller: Writer, session: Session) -> None:
    """Throw away what has arrived."""
    row = await transfers.UploadRepository(session, caller.tenant_id).get(upload_id, for_update=True)
    await transfers.drop(session, caller.tenant_id, row)
