from typing import Annotated

from fastapi import APIRouter, Body
from fastapi.responses import Response

from app.core.database import Session
from app.core.errors import problems
from app.core.etags import ChangedMeanwhile, IfMatch
from app.core.pagination import InvalidCursor, Paging
from app.fleet.endpoints import FleetDep
from app.identity.caller import GUARDED, Caller, Writer
from app.identity.once import ONCE, ONCE_ERRORS
from app.identity.routing import Route
from app.jobs import service as jobs
from app.jobs.endpoints import ORDER_ERRORS
from app.jobs.ordering import InvalidOverrides
from app.templates import service
from app.templates.service import TemplateNotFound, TemplateRepository
from whetstone.contract.jobs import JobRead
from whetstone.contract.pages import Page
from whetstone.contract.templates import TemplateChange, TemplateCreate, TemplateRead, TemplateUse
from whetstone.contract.types import TemplateRef

router = APIRouter(prefix="/v1/templates", tags=["templates"], route_class=Route)

_EXAMPLE = {
    "name": "int8 for phones",
    "description": "What the vision team ships.",
    "order": {
        "plan": {"kind": "recipe", "passes": [{"kind": "simplify"}, {"kind": "quantize"}]},
        "targets": ["onnxruntime/cpu"],
        "budget": {"objective": "size", "max_drop": 1},
    },
}
_USE = {"model_id": "mdl_01h455vb4pex5vsknk084sn02q", "dataset_id": "dat_01h455vb4pex5vsknk084sn02q"}


@router.post(
    "",
    status_code=201,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, service.TemplateNameTaken),
)
async def create_template(
    wanted: Annotated[TemplateCreate, Body(examples=[_EXAMPLE])], caller: Writer, session: Session
) -> TemplateRead:
    """Keep an order, without model and data, under a name."""
    return service.read(await service.create(session, caller, wanted))


@router.get("", responses=problems(*GUARDED, InvalidCursor))
async def list_templates(caller: Caller, session: Session, paging: Paging) -> Page[TemplateRead]:
    """Templates, newest first."""
    page = await TemplateRepository(session, caller.tenant_id).page(paging)
    return Page(items=tuple(service.read(row) for row in page.items), next_cursor=page.next_cursor)


@router.get("/{template_id}", responses=problems(*GUARDED, TemplateNotFound))
async def get_template(template_id: TemplateRef, caller: Caller, session: Session) -> TemplateRead:
    """One template."""
    return service.read(await TemplateRepository(session, caller.tenant_id).get(template_id))


@router.patch(
    "/{template_id}",
    responses=problems(*GUARDED, TemplateNotFound, service.TemplateNameTaken, ChangedMeanwhile),
)
async def change_template(
    template_id: TemplateRef,
    wanted: Annotated[TemplateChange, Body(examples=[{"description": "What we shipped until June."}])],
    caller: Writer,
    session: Session,
    expected: IfMatch,
) -> TemplateRead:
    """Change a template. Jobs that were ordered by it stay as they are."""
    row = await TemplateRepository(session, caller.tenant_id).get(template_id, for_update=True)
    expected.check(service.read(row))
    await service.change(session, row, wanted)
    return service.read(row)


@router.delete(
    "/{template_id}",
    status_code=204,
    response_class=Response,
    responses=problems(*GUARDED, TemplateNotFound, ChangedMeanwhile),
)
async def delete_template(template_id: TemplateRef, caller: Writer, session: Session, expected: IfMatch) -> None:
    """Delete a template. Jobs that were ordered by it stay as they are."""
    row = await TemplateRepository(session, caller.tenant_id).get(template_id, for_update=True)
    expected.check(service.read(row))
    await session.delete(row)


@router.post(
    "/{template_id}/jobs",
    status_code=202,
    dependencies=[ONCE],
    responses=problems(*GUARDED, *ONCE_ERRORS, TemplateNotFound, InvalidOverrides, *ORDER_ERRORS),
)
async def submit_by_template(
    template_id: TemplateRef,
    wanted: Annotated[TemplateUse, Body(examples=[_USE])],
    caller: Writer,
    session: Session,
    fleet: FleetDep,
) -> JobRead:
    """Order a job by a template: a model, perhaps a dataset, and what is to be other than in the template."""
    row = await TemplateRepository(session, caller.tenant_id).get(template_id)
    return await jobs.read(session, await jobs.submit(session, fleet, caller, service.spec_of(row, wanted)))
