from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response

from app.core.database import Session
from app.core.errors import problems
from app.core.etags import ChangedMeanwhile, IfMatch
from app.core.ids import Prefix
from app.core.labels import RELABELLED, InvalidLabels, LabelsDep, TooManyLabels
from app.core.listing import LISTING_ERRORS, Listing, page_of
from app.core.resources import BellDep, SessionsDep
from app.core.storage import STREAMED, StorageUnavailable, UploadTooLarge
from app.datasets.preprocessing import InvalidPreprocessing, PreprocessingDep
from app.datasets.service import KIND, DatasetNotFound, DatasetRepository, NoPreview, preview, read
from app.datasets.tables import DatasetRow
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
from whetstone.contract.labels import ResourceChange
from whetstone.contract.models import InspectionState
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
        InvalidLabels,
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
    labels: LabelsDep,
    filename: Annotated[FileName, Query(description="the file's own name", examples=["data.npz"])],
    name: Annotated[DisplayName | None, Query(description="what to call it; the file's name if left out")] = None,
    upload_id: UploadId = None,
    _key: IdempotencyKey = None,
) -> DatasetRead:
    """Upload a dataset as the raw request body: an `.npz` or `.h5` of arrays named after the inputs, and `labels`; or,
    with `preprocessing`, images or recordings in class folders or JSON lines with their tokenizer in a `.zip` or
    `.tar`, a `.csv`, `.parquet` or `.arrow` table, or an `.npy`.
    """
    return read(await arrive(request, fleet, KIND, caller, name, filename, wait, labels, preprocessing, upload_id))


@router.get("", responses=problems(*GUARDED, *LISTING_ERRORS))
async def list_datasets(
    caller: Caller,
    session: Session,
    wanted: Listing,
    state: Annotated[InspectionState | None, Query(description="only in this state")] = None,
    kind: Annotated[str | None, Query(max_length=40, description="only of this format, as in `facts`")] = None,
) -> Page[DatasetRead]:
    """Datasets, newest first, or as they are asked for."""
    query = DatasetRepository(session, caller.tenant_id).query()
    rows, cursor = await page_of(session, query, DatasetRow, Prefix.DATASET, wanted.narrowed(state, kind))
    return Page(items=tuple(read(row) for row in rows), next_cursor=cursor)


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


@router.patch("/{dataset_id}", responses=problems(*GUARDED, DatasetNotFound, TooManyLabels, ChangedMeanwhile))
async def change_dataset(
    dataset_id: DatasetRef,
    wanted: Annotated[ResourceChange, Body(examples=[RELABELLED])],
    caller: Writer,
    session: Session,
    expected: IfMatch,
) -> DatasetRead:
    """Give a dataset another name, or other labels."""
    row = await DatasetRepository(session, caller.tenant_id).get(dataset_id, for_update=True)
    expected.check(read(row))
    await uploads.change(session, row, wanted)
    return read(row)


@router.delete(
    "/{dataset_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, DatasetNotFound, uploads.StillInUse, ChangedMeanwhile),
)
async def delete_dataset(dataset_id: DatasetRef, caller: Writer, session: Session, expected: IfMatch) -> None:
    """Delete a dataset that no job refers to."""
    await uploads.delete(session, KIND, caller.tenant_id, dataset_id, lambda row: expected.check(read(row)))
