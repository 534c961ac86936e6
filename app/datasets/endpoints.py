from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.core.database import Session
from app.core.errors import problems
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import BellDep, SessionsDep
from app.core.storage import STREAMED, StorageUnavailable, UploadTooLarge
from app.datasets.service import KIND, DatasetNotFound, DatasetRepository, read
from app.fleet.endpoints import FleetDep
from app.identity.caller import Caller
from app.identity.service import Unauthorized
from app.uploads import service as uploads
from app.uploads.sniff import EmptyFile, UnsafeFile, UnsupportedFormat
from app.uploads.waiting import Wait
from whetstone.contract.datasets import DatasetRead
from whetstone.contract.pages import Page
from whetstone.contract.types import DatasetRef, DisplayName, FileName

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    max_body_size=STREAMED,
    responses=problems(Unauthorized, EmptyFile, UnsafeFile, UnsupportedFormat, UploadTooLarge, StorageUnavailable),
)
async def upload_dataset(
    request: Request,
    caller: Caller,
    sessions: SessionsDep,
    fleet: FleetDep,
    bell: BellDep,
    wait: Wait,
    filename: Annotated[FileName, Query(description="the file's own name", examples=["data.npz"])],
    name: Annotated[DisplayName | None, Query(description="what to call it; the file's name if left out")] = None,
) -> DatasetRead:
    """Upload a dataset as the raw request body: an `.npz` of arrays named after the inputs, and `labels`."""
    stored = await uploads.receive(sessions, fleet, caller.tenant_id, request.stream())
    async with sessions.begin() as session:
        row = await uploads.create(session, fleet, KIND, caller.tenant_id, stored, name or filename, filename)
    return read(await uploads.wait_inspected(sessions, bell, KIND, caller.tenant_id, row.id, wait))


@router.get("", responses=problems(Unauthorized, InvalidCursor))
async def list_datasets(caller: Caller, session: Session, paging: Paging) -> Page[DatasetRead]:
    """Datasets, newest first."""
    page = await DatasetRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/{dataset_id}", responses=problems(Unauthorized, DatasetNotFound))
async def get_dataset(
    dataset_id: DatasetRef, caller: Caller, sessions: SessionsDep, bell: BellDep, wait: Wait
) -> DatasetRead:
    """One dataset; with `Prefer: wait=N` once its inspection has ended."""
    return read(await uploads.wait_inspected(sessions, bell, KIND, caller.tenant_id, dataset_id, wait))


@router.delete(
    "/{dataset_id}",
    status_code=204,
    response_class=Response,
    responses=problems(Unauthorized, DatasetNotFound, uploads.StillInUse),
)
async def delete_dataset(dataset_id: DatasetRef, caller: Caller, session: Session) -> None:
    """Delete a dataset that no job refers to."""
    await uploads.delete(session, KIND, caller.tenant_id, dataset_id)
