"""Templates: orders of a tenant that have a name."""

from datetime import UTC, datetime

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.tenancy import Principal, TenantRepository
from app.jobs.ordering import overridden
from app.templates.tables import TemplateRow
from whetstone.contract.jobs import JobSpec
from whetstone.contract.templates import TemplateChange, TemplateCreate, TemplateRead, TemplateUse


class TemplateNotFound(AppError):
    """There is no such template."""

    code, status = "template_not_found", 404


class TemplateNameTaken(AppError):
    """Another template has this name."""

    code, status = "template_name_taken", 409


class TemplateRepository(TenantRepository[TemplateRow]):
    row, missing = TemplateRow, TemplateNotFound


async def create(session: AsyncSession, caller: Principal, wanted: TemplateCreate) -> TemplateRow:
    """Raises TemplateNameTaken."""
    row = TemplateRow(
        id=new_id(Prefix.TEMPLATE),
        tenant_id=caller.tenant_id,
        name=wanted.name,
        description=wanted.description,
        order=wanted.order,
    )
    session.add(row)
    await _flush(session)
    await session.refresh(row)  # the answer shows created_at
    return row


async def change(session: AsyncSession, row: TemplateRow, wanted: TemplateChange) -> None:
    """The row must be held. Raises TemplateNameTaken."""
    row.name = wanted.name or row.name
    row.description = row.description if wanted.description is None else wanted.description
    row.order = wanted.order or row.order
    row.changed_at = datetime.now(UTC)
    await _flush(session)


async def _flush(session: AsyncSession) -> None:
    """Nothing follows a name that is taken: the transaction ends with it."""
    try:
        await session.flush()
    except IntegrityError as error:
        raise TemplateNameTaken from error


def spec_of(row: TemplateRow, wanted: TemplateUse) -> JobSpec:
    """The order by a template. Raises InvalidOverrides."""
    return overridden(JobSpec(model_id=wanted.model_id, **dict(row.order)), wanted)


def read(row: TemplateRow) -> TemplateRead:
    return TemplateRead(
        id=row.id,
        name=row.name,
        description=row.description,
        order=row.order,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )
