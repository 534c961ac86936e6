from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.core.database import Session
from app.core.errors import problems
from app.core.etags import ChangedMeanwhile, IfMatch
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import BellDep, SessionsDep
from app.core.storage import STREAMED, StorageUnavailable, UploadTooLarge
from app.datasets.preprocessing import InvalidPreprocessing, PreprocessingDep
from app.datasets.service import KIND, DatasetNotFound, DatasetRepository, NoPreview, preview, read
from app.fleet.endpoints import FleetDep
from app.identity.caller import GUARDED, Caller, Writer
from app.identity.once import ONCE_ERRORS, IdempotencyKey
from app.identity.routing import Route
from app.uploads import service as uploads
from app.uploads.arrival import ARRIVAL_ERRORS, UploadId, arrive
from app.uploads.sniff import EmptyFile, UnsafeFile, UnsupportedFormat
from app.uploads.waiting import Wait
from app.usage.quotas import QuotaExceeded
from whetstone.contract.datasets import DatasetRead
from whetstone.contract.pages import Page
from whetstone.contract.previews import DatasetPreview
from whetstone.contract.types import DatasetRef, DisplayName, FileName

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=Route)

_BODY = {"requestBody": {"required": False, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    max_body_size=STREAMED,
    responses=problems(
        *GUARDED,
        *ONCE_ERRORS,
        *ARRIVAL_ERRORS,
        InvalidPreprocessing,
        EmptyFile,
        UnsafeFile,
        UnsupportedFormat,
        UploadTooLarge,
        QuotaExceeded,
        StorageUnavailable,
    ),
)
async def upload_dataset(
    request: Request,
    caller: Writer,
    fleet: FleetDep,
    wait: Wait,
    preprocessing: PreprocessingDep,
    filename: Annotated[FileName, Query(description="the file's own name", examples=["data.npz"])],
    name: Annotated[DisplayName | None, Query(description="what to call it; the file's name if left out")] = None,
    upload_id: UploadId = None,
    _key: IdempotencyKey = None,
) -> DatasetRead:
    """Upload a dataset as the raw request body: an `.npz` or `.h5` of arrays named after the inputs, and `labels`; or,
    with `preprocessing`, images or recordings in class folders or JSON lines with their tokenizer in a `.zip` or
    `.tar`, a `.csv`, `.parquet` or `.arrow` table, or an `.npy`.
    """
    return read(await arrive(request, fleet, KIND, caller, name, filename, wait, preprocessing, upload_id))


@router.get("", responses=problems(*GUARDED, InvalidCursor))
async def list_datasets(caller: Caller, session: Session, paging: Paging) -> Page[DatasetRead]:
    """Datasets, newest first."""
    page = await DatasetRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/{dataset_id}", responses=problems(*GUARDED, DatasetNotFound))
async def get_dataset(
    dataset_id: DatasetRef, caller: Caller, sessions: SessionsDep, bell: BellDep, wait: Wait
) -> DatasetRead:
    """One dataset; with `Prefer: wait=N` once its inspection has ended."""
    return read(await uploads.wait_inspected(sessions, bell, KIND, caller.tenant_id, dataset_id, wait))


@router.get("/{dataset_id}/preview", responses=problems(*GUARDED, DatasetNotFound, NoPreview))
async def preview_dataset(dataset_id: DatasetRef, caller: Caller, session: Session) -> DatasetPreview:
    """The first rows of a dataset, small pictures and waveforms of them, and how often each label occurs."""
    return await preview(session, caller.tenant_id, dataset_id)


@router.delete(
    "/{dataset_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, DatasetNotFound, uploads.StillInUse, ChangedMeanwhile),
)
async def delete_dataset(dataset_id: DatasetRef, caller: Writer, session: Session, expected: IfMatch) -> None:
    """Delete a dataset that no job refers to."""
    await uploads.delete(session, KIND, caller.tenant_id, dataset_id, lambda row: expected.check(read(row)))
