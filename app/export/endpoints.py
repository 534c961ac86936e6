from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.core.errors import problems
from app.core.resources import SessionsDep, StorageDep
from app.export import service
from app.identity.caller import GUARDED, Admin
from app.identity.routing import Route

router = APIRouter(prefix="/v1/tenant", tags=["tenant"], route_class=Route)

_ZIP = "application/zip"
_ARCHIVE: dict[int | str, dict[str, Any]] = {
    200: {"content": {_ZIP: {}}, "description": "A zip file of JSON Lines, one for each kind of thing"}
}


@router.get("/export", response_class=StreamingResponse, responses=_ARCHIVE | problems(*GUARDED))
async def export_tenant(caller: Admin, sessions: SessionsDep, storage: StorageDep) -> StreamingResponse:
    """Everything the tenant has, streamed: what the service knows as JSON Lines, and a link to each file."""
    name = f"whetstone-{datetime.now(UTC):%Y-%m-%d}.zip"
    content = service.stream(sessions, storage, caller.tenant_id)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content, media_type=_ZIP, headers=headers)
