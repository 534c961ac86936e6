from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.core.database import Session
from app.core.errors import problems
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import BellDep, SessionsDep
from app.core.storage import STREAMED, StorageUnavailable, UploadTooLarge
from app.fleet.endpoints import FleetDep
from app.identity.caller import Caller
from app.identity.service import Unauthorized
from app.models.service import KIND, ModelNotFound, ModelRepository, read
from app.uploads import service as uploads
from app.uploads.sniff import EmptyFile, UnsafeFile, UnsupportedFormat
from app.uploads.waiting import Wait
from whetstone.contract.models import ModelRead
from whetstone.contract.pages import Page
from whetstone.contract.types import DisplayName, FileName, ModelRef

router = APIRouter(prefix="/v1/models", tags=["models"])

_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    max_body_size=STREAMED,
    responses=problems(Unauthorized, EmptyFile, UnsafeFile, UnsupportedFormat, UploadTooLarge, StorageUnavailable),
)
async def upload_model(
    request: Request,
    caller: Caller,
    sessions: SessionsDep,
    fleet: FleetDep,
    bell: BellDep,
    wait: Wait,
    filename: Annotated[FileName, Query(description="the file's own name", examples=["model.onnx"])],
    name: Annotated[DisplayName | None, Query(description="what to call it; the file's name if left out")] = None,
) -> ModelRead:
    """Upload a model as the raw request body: an `.onnx` file, or a `.zip` of one with its external data."""
    stored = await uploads.receive(sessions, fleet, caller.tenant_id, request.stream())
    async with sessions.begin() as session:
        row = await uploads.create(session, fleet, KIND, caller.tenant_id, stored, name or filename, filename)
    return read(await uploads.wait_inspected(sessions, bell, KIND, caller.tenant_id, row.id, wait))


@router.get("", responses=problems(Unauthorized, InvalidCursor))
async def list_models(caller: Caller, session: Session, paging: Paging) -> Page[ModelRead]:
    """Models, newest first."""
    page = await ModelRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/{model_id}", responses=problems(Unauthorized, ModelNotFound))
async def get_model(model_id: ModelRef, caller: Caller, sessions: SessionsDep, bell: BellDep, wait: Wait) -> ModelRead:
    """One model; with `Prefer: wait=N` once its inspection has ended."""
    return read(await uploads.wait_inspected(sessions, bell, KIND, caller.tenant_id, model_id, wait))


@router.delete(
    "/{model_id}",
    status_code=204,
    response_class=Response,
    responses=problems(Unauthorized, ModelNotFound, uploads.StillInUse),
)
async def delete_model(model_id: ModelRef, caller: Caller, session: Session) -> None:
    """Delete a model that no job refers to."""
    await uploads.delete(session, KIND, caller.tenant_id, model_id)
