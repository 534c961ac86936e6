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
from app.fleet.endpoints import FleetDep
from app.identity.caller import GUARDED, Caller, Writer
from app.identity.once import ONCE_ERRORS, IdempotencyKey
from app.identity.routing import Route
from app.models.service import KIND, ModelNotFound, ModelRepository, read
from app.models.tables import ModelRow
from app.uploads import service as uploads
from app.uploads.arrival import ARRIVAL_ERRORS, UploadId, arrive
from app.uploads.sniff import EmptyFile, UnsafeFile, UnsupportedFormat
from app.uploads.waiting import Wait
from app.usage.quotas import QuotaExceeded
from whetstone.contract.labels import ResourceChange
from whetstone.contract.models import InspectionState, ModelRead
from whetstone.contract.pages import Page
from whetstone.contract.types import DisplayName, FileName, ModelRef

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=Route)

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
        InvalidLabels,
        EmptyFile,
        UnsafeFile,
        UnsupportedFormat,
        UploadTooLarge,
        QuotaExceeded,
        StorageUnavailable,
    ),
)
async def upload_model(
    request: Request,
    caller: Writer,
    fleet: FleetDep,
    wait: Wait,
    labels: LabelsDep,
    filename: Annotated[FileName, Query(description="the file's own name", examples=["model.onnx"])],
    name: Annotated[DisplayName | None, Query(description="what to call it; the file's name if left out")] = None,
    upload_id: UploadId = None,
    _key: IdempotencyKey = None,
) -> ModelRead:
    """Upload a model as the raw request body: an `.onnx` file, a `.zip` of one with its external data, or a file of
    scikit-learn (skops), XGBoost, LightGBM, Keras, TensorFlow or TFLite, or a `.zip` or `.tar` of a folder as
    transformers or timm save it (`config.json` and safetensors), or a torch.export or TorchScript archive.
    """
    return read(await arrive(request, fleet, KIND, caller, name, filename, wait, labels, upload_id=upload_id))


@router.get("", responses=problems(*GUARDED, *LISTING_ERRORS))
async def list_models(
    caller: Caller,
    session: Session,
    wanted: Listing,
    state: Annotated[InspectionState | None, Query(description="only in this state")] = None,
    kind: Annotated[str | None, Query(max_length=40, description="only of this format, as in `facts`")] = None,
) -> Page[ModelRead]:
    """Models, newest first, or as they are asked for."""
    query = ModelRepository(session, caller.tenant_id).query()
    rows, cursor = await page_of(session, query, ModelRow, Prefix.MODEL, wanted.narrowed(state, kind))
    return Page(items=tuple(read(row) for row in rows), next_cursor=cursor)


@router.get("/{model_id}", responses=problems(*GUARDED, ModelNotFound))
async def get_model(model_id: ModelRef, caller: Caller, sessions: SessionsDep, bell: BellDep, wait: Wait) -> ModelRead:
    """One model; with `Prefer: wait=N` once its inspection has ended."""
    return read(await uploads.wait_inspected(sessions, bell, KIND, caller.tenant_id, model_id, wait))


@router.patch("/{model_id}", responses=problems(*GUARDED, ModelNotFound, TooManyLabels, ChangedMeanwhile))
async def change_model(
    model_id: ModelRef,
    wanted: Annotated[ResourceChange, Body(examples=[RELABELLED])],
    caller: Writer,
    session: Session,
    expected: IfMatch,
) -> ModelRead:
    """Give a model another name, or other labels."""
    row = await ModelRepository(session, caller.tenant_id).get(model_id, for_update=True)
    expected.check(read(row))
    await uploads.change(session, row, wanted)
    return read(row)


@router.delete(
    "/{model_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, ModelNotFound, uploads.StillInUse, ChangedMeanwhile),
)
async def delete_model(model_id: ModelRef, caller: Writer, session: Session, expected: IfMatch) -> None:
    """Delete a model that no job refers to."""
    await uploads.delete(session, KIND, caller.tenant_id, model_id, lambda row: expected.check(read(row)))
