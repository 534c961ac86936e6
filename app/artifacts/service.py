"""What came out of jobs."""

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts import files
from app.artifacts.tables import ArtifactRow, FileRow
from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.tenancy import TenantID, TenantRepository
from whetstone.contract.jobs import ArtifactKind, ArtifactRead
from whetstone.contract.steps import OutputFile
from whetstone.contract.targets import Target

INTERIM = (ArtifactKind.CHECKPOINT, ArtifactKind.LEARNING_STATE)
HIDDEN = (*INTERIM, ArtifactKind.KIT)


class ArtifactNotFound(AppError):
    """There is no such artifact."""

    code, status = "artifact_not_found", 404


class OutputMissing(AppError):
    """The step names an output that was not uploaded."""

    code, status = "output_missing", 409


class ArtifactRepository(TenantRepository[ArtifactRow]):
    row, missing = ArtifactRow, ArtifactNotFound

    async def of_job(self, job_id: str) -> list[ArtifactRow]:
        query = self.query().where(ArtifactRow.job_id == job_id, ArtifactRow.kind.not_in(HIDDEN))
        return list(await self.session.scalars(query.order_by(ArtifactRow.id)))

    async def named(self, job_id: str, name: str) -> ArtifactRow:
        found: ArtifactRow | None = await self.session.scalar(
            self.query().where(ArtifactRow.job_id == job_id, ArtifactRow.name == name)
        )
        if found is None:
            raise ArtifactNotFound
        return found


async def add(
    session: AsyncSession, tenant_id: TenantID, job_id: str, step_id: str, target: Target | None, output: OutputFile
) -> ArtifactRow:
    """Record an uploaded output of a step. Raises OutputMissing."""
    file = await uploaded(session, tenant_id, output)
    row = ArtifactRow(
        id=new_id(Prefix.ARTIFACT),
        tenant_id=tenant_id,
        job_id=job_id,
        step_id=step_id,
        kind=output.kind,
        name=output.name,
        target=target,
        media_type=output.media_type,
        file=file,
    )
    session.add(row)
    await session.flush()  # callers refer to row.file_id
    return row


async def uploaded(session: AsyncSession, tenant_id: TenantID, output: OutputFile) -> FileRow:
    """The file that a step says it has uploaded. Raises OutputMissing."""
    file = await files.find(session, tenant_id, output.sha256)
    if file is None:
        raise OutputMissing(f"{output.name} ({output.sha256[:12]}…) was not uploaded.")
    return file


async def drop_interim(
    session: AsyncSession,
    tenant_id: TenantID,
    step_id: str,
    kinds: tuple[ArtifactKind, ...] = INTERIM,
    but: str | None = None,
) -> None:
    """Let go of what a step has saved for its own retry and needs no more, `but` one that it still does."""
    mine = and_(ArtifactRow.step_id == step_id, ArtifactRow.kind.in_(kinds), ArtifactRow.id != but)
    await _drop(session, tenant_id, mine)


async def drop_kits(session: AsyncSession, tenant_id: TenantID, job_id: str) -> None:
    """Let go of what bundles were made of."""
    await _drop(session, tenant_id, and_(ArtifactRow.job_id == job_id, ArtifactRow.kind == ArtifactKind.KIT))


async def kits(session: AsyncSession, tenant_id: TenantID, job_id: str) -> list[ArtifactRow]:
    query = select(ArtifactRow).where(ArtifactRow.tenant_id == tenant_id, ArtifactRow.job_id == job_id)
    return list(await session.scalars(query.where(ArtifactRow.kind == ArtifactKind.KIT).order_by(ArtifactRow.id)))


async def _drop(session: AsyncSession, tenant_id: TenantID, which: ColumnElement[bool]) -> None:
    for row in list(await session.scalars(select(ArtifactRow).where(ArtifactRow.tenant_id == tenant_id, which))):
        await session.delete(row)
        await session.flush()  # the file can only go after the row that refers to it
        await files.release(session, tenant_id, row.file_id)


def read(row: ArtifactRow) -> ArtifactRead:
    return ArtifactRead(
        id=row.id,
        job_id=row.job_id,
        kind=ArtifactKind(row.kind),
        name=row.name,
        target=None if row.target is None else Target(row.target),
        size=row.file.size,
        sha256=row.file.sha256,
        media_type=row.media_type,
        created_at=row.created_at,
    )
