import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, assert_never

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from app.audit.repository import AuditRepository, EntryNotFound, Wanted, batches
from app.core import csvs
from app.core.audit import AuditRow
from app.core.database import Session
from app.core.errors import problems
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import SessionsDep
from app.identity.caller import GUARDED, Admin
from app.identity.routing import Route
from whetstone.contract.audit import AuditEntry, ExportForm
from whetstone.contract.pages import Page
from whetstone.contract.types import AuditRef, UserRef

router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=Route)

_FIELDS = tuple(AuditEntry.model_fields)
_NDJSON = "application/x-ndjson"
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}, _NDJSON: {}}, "description": "Every entry, newest first"}
}


def read_wanted(
    action: Annotated[str | None, Query(max_length=60, description="only this action, such as `submit_job`")] = None,
    subject: Annotated[str | None, Query(max_length=40, description="only what happened to this id")] = None,
    user_id: Annotated[UserRef | None, Query(description="only what this user did")] = None,
    since: Annotated[AwareDatetime | None, Query(description="from this moment on")] = None,
    until: Annotated[AwareDatetime | None, Query(description="before this moment")] = None,
) -> Wanted:
    return Wanted(action, subject, user_id, since, until)


WantedDep = Annotated[Wanted, Depends(read_wanted)]


@router.get("", responses=problems(*GUARDED, InvalidCursor))
async def list_audit(caller: Admin, session: Session, paging: Paging, wanted: WantedDep) -> Page[AuditEntry]:
    """Every change, newest first: who made it, when, from where."""
    log = AuditRepository(session, caller.tenant_id)
    page = await log.page(paging, log.those(wanted))
    return Page(items=tuple(_read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/export", response_class=StreamingResponse, responses=_EXPORT | problems(*GUARDED))
async def export_audit(
    caller: Admin,
    sessions: SessionsDep,
    wanted: WantedDep,
    form: Annotated[ExportForm, Query(description="how it is written")] = ExportForm.JSONL,
) -> StreamingResponse:
    """The whole log as a file, streamed."""
    rows = batches(sessions, caller.tenant_id, wanted)
    headers = {"Content-Disposition": f'attachment; filename="audit.{form}"'}
    match form:
        case ExportForm.CSV:
            return StreamingResponse(_csv(rows), media_type=csvs.MEDIA_TYPE, headers=headers)
        case ExportForm.JSONL:
            return StreamingResponse(_jsonl(rows), media_type=_NDJSON, headers=headers)
        case _:
            assert_never(form)


@router.get("/{entry_id}", responses=problems(*GUARDED, EntryNotFound))
async def get_audit_entry(entry_id: AuditRef, caller: Admin, session: Session) -> AuditEntry:
    """One entry."""
    return _read(await AuditRepository(session, caller.tenant_id).get(entry_id))


async def _csv(rows: AsyncIterator[tuple[AuditRow, ...]]) -> AsyncIterator[str]:
    yield csvs.lines([_FIELDS])
    async for batch in rows:
        entries = (_read(row).model_dump(mode="json") for row in batch)
        yield csvs.lines([_cell(entry[name]) for name in _FIELDS] for entry in entries)


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


async def _jsonl(rows: AsyncIterator[tuple[AuditRow, ...]]) -> AsyncIterator[str]:
    async for batch in rows:
        yield "".join(f"{_read(row).model_dump_json()}\n" for row in batch)


def _read(row: AuditRow) -> AuditEntry:
    return AuditEntry(**{name: getattr(row, name) for name in _FIELDS})
