from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from app.core import csvs
from app.core.database import Session
from app.core.errors import problems
from app.core.pagination import InvalidCursor, Paging
from app.core.resources import SettingsDep
from app.identity.caller import GUARDED, Admin, Caller
from app.identity.routing import Route
from app.usage import budgets, service
from app.usage.pricing import NoPrices
from app.usage.repository import Span, UsageRepository
from app.usage.tables import StepUsageRow
from whetstone.contract.pages import Page
from whetstone.contract.usage import BudgetRead, BudgetSet, StepUse, UsageRead

router = APIRouter(prefix="/v1/usage", tags=["usage"], route_class=Route)

_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}, "description": "One line for each figure"}}
_HEADER = ("day", "what", "hardware", "quantity", "unit", "amount", "currency")


def read_span(
    since: Annotated[date | None, Query(description="the first day (UTC); of this month if left out")] = None,
    until: Annotated[date | None, Query(description="the day after the last; tomorrow if left out")] = None,
) -> Span:
    return service.span_of(since, until)


SpanDep = Annotated[Span, Depends(read_span)]


@router.get("", responses=problems(*GUARDED, service.InvalidSpan))
async def get_usage(caller: Caller, session: Session, settings: SettingsDep, span: SpanDep) -> UsageRead:
    """What was used on each day, what it cost, and how much of the plan is used by now."""
    return await service.read(session, settings, caller.tenant_id, span)


@router.get("/days.csv", response_class=Response, responses=_CSV | problems(*GUARDED, service.InvalidSpan))
async def get_usage_table(caller: Caller, session: Session, settings: SettingsDep, span: SpanDep) -> Response:
    """The days as comma-separated values."""
    usage = await service.read(session, settings, caller.tenant_id, span)
    headers = {"Content-Disposition": 'attachment; filename="usage.csv"'}
    return Response(csvs.lines([_HEADER, *_rows(usage)]), media_type=csvs.MEDIA_TYPE, headers=headers)


def _rows(usage: UsageRead) -> Iterator[tuple[object, ...]]:
    for day in usage.days:
        for use in day.work:
            cost = (use.price.amount, use.price.currency) if use.price else (None, None)
            yield day.day, "work", use.hardware, use.seconds, "seconds", *cost
        yield day.day, "requests", None, day.requests, "requests", None, None
        yield day.day, "storage", None, day.storage_bytes, "bytes", None, None


@router.get("/steps", responses=problems(*GUARDED, InvalidCursor))
async def list_step_usage(
    caller: Caller,
    session: Session,
    paging: Paging,
    subject_id: Annotated[
        str | None, Query(max_length=40, description="only steps of this job, model or dataset")
    ] = None,
) -> Page[StepUse]:
    """Every step that was metered, newest first."""
    usage = UsageRepository(session, caller.tenant_id)
    query = usage.query() if subject_id is None else usage.query().where(StepUsageRow.subject_id == subject_id)
    page = await usage.page(paging, query)
    return Page(items=tuple(service.read_step(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/budget", responses=problems(*GUARDED, budgets.BudgetNotFound))
async def get_budget(caller: Caller, session: Session, settings: SettingsDep) -> BudgetRead:
    """The budget, and what this month has taken of it."""
    return await budgets.read(session, settings, caller.tenant_id)


@router.put("/budget", responses=problems(*GUARDED, NoPrices))
async def set_budget(wanted: BudgetSet, caller: Admin, session: Session, settings: SettingsDep) -> BudgetRead:
    """Set or replace the budget. Webhooks are told (`budget.reached`) when a month reaches a share of it."""
    return await budgets.put(session, settings, caller.tenant_id, wanted)


@router.delete(
    "/budget", status_code=204, response_class=Response, responses=problems(*GUARDED, budgets.BudgetNotFound)
)
async def remove_budget(caller: Admin, session: Session) -> None:
    """Have no budget any more."""
    await budgets.remove(session, caller.tenant_id)
