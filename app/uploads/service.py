"""Uploads: stream the bytes in, write the row and its inspection step, hear what the inspection found."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.artifacts import files, transfers
from app.artifacts.tables import FileRow, UploadRow
from app.core import terms
from app.core.bell import Bell, ring
from app.core.errors import AppError
from app.core.ids import Prefix, new_id
from app.core.labels import changed
from app.core.storage import Stored, UploadTooLarge
from app.core.tenancy import TenantID, TenantRepository
from app.fleet import service as fleet_service
from app.fleet.repository import StepRepository
from app.fleet.service import Fleet
from app.fleet.tables import StepInput, StepRow
from app.uploads.sniff import EmptyFile, checked
from app.usage import quotas
from app.webhooks import service as webhooks
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import StepState
from whetstone.contract.labels import ResourceChange
from whetstone.contract.models import InspectionState
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.steps import Heartbeat, InputRole, InspectDataset, InspectModel, OutputFile, Task
from whetstone.contract.uploads import UploadCreate
from whetstone.contract.webhooks import UploadNotice, WebhookKind

LOOK_AGAIN_SECONDS = 2.0
RowT = TypeVar("RowT", bound=Any)


class StillInUse(AppError):
    """A job refers to this, so it cannot be deleted."""

    code, status = "still_in_use", 409


@dataclass(frozen=True)
class Kind(Generic[RowT]):
    """What makes a model's upload different from a dataset's."""

    row: type[RowT]
    repository: type[TenantRepository[RowT]]
    prefix: Prefix
    role: InputRole
    task: InspectModel | InspectDataset
    ready: WebhookKind
    rejected: WebhookKind


async def receive(
    sessions: async_sessionmaker[AsyncSession],
    fleet: Fleet,
    tenant_id: TenantID,
    body: AsyncIterator[bytes],
    announced: int,
) -> Stored:
    """Stream a file in, refusing by its announced size and its first bytes what can never be used, and what the plan
    has no room for. Raises UploadTooLarge, QuotaExceeded.
    """
    limit = fleet.settings.limits.upload_bytes
    async with sessions() as session:
        room = await quotas.room(session, fleet.settings, tenant_id)
    room.check(min(announced, limit))
    most = limit if room.left is None else min(limit, room.left)
    try:
        return await files.receive(sessions, fleet.storage, tenant_id, checked(body), most)
    except UploadTooLarge as error:
        if most < limit:
            raise room.exceeded() from error
        raise


async def keep(session: AsyncSession, fleet: Fleet, tenant_id: TenantID, stored: Stored) -> FileRow:
    """Keep the file that came in. Raises QuotaExceeded, where others came first."""
    room = await quotas.room(session, fleet.settings, tenant_id, hold=True)
    if room.left is not None and await files.find(session, tenant_id, stored.sha256) is None:
        room.check(stored.size)
    return await files.keep(session, tenant_id, stored)


async def announce(
    session: AsyncSession,
    sessions: async_sessionmaker[AsyncSession],
    fleet: Fleet,
    tenant_id: TenantID,
    wanted: UploadCreate,
) -> UploadRow:
    """An upload straight to the storage; its bytes count at once. Raises EmptyFile, UploadTooLarge, QuotaExceeded."""
    limits = fleet.settings.limits
    if not wanted.size:
        raise EmptyFile
    if wanted.size > limits.upload_bytes:
        raise UploadTooLarge(f"The file is larger than {limits.upload_bytes} bytes.")
    room = await quotas.room(session, fleet.settings, tenant_id, hold=True)
    known = await files.find(session, tenant_id, wanted.sha256) or await transfers.UploadRepository(
        session, tenant_id
    ).like(wanted)
    if known is None:
        room.check(wanted.size)
    lives = timedelta(hours=limits.upload_hours)
    return await transfers.begin(session, sessions, fleet.storage, tenant_id, wanted, lives)


async def create(
    session: AsyncSession,
    fleet: Fleet,
    kind: Kind[RowT],
    tenant_id: TenantID,
    file: FileRow,
    name: str,
    filename: str,
    labels: dict[str, str],
    preprocessing: Preprocessing | None = None,
) -> RowT:
    """The row of a file, and the step that inspects it."""
    row: RowT = kind.row(
        id=new_id(kind.prefix),
        tenant_id=tenant_id,
        name=name,
        filename=filename,
        labels=labels,
        state=InspectionState.INSPECTING,
        file=file,
    )
    if preprocessing is not None:
        row.preprocessing = preprocessing
    session.add(row)
    await session.flush()  # the answer shows created_at
    await session.refresh(row)
    await terms.write(session, tenant_id, row.id, name, labels, None)
    given = StepInput(role=kind.role, file_id=file.id, filename=filename, preprocessing=preprocessing)
    seconds = fleet.settings.limits.inspect_seconds
    await fleet_service.queue_step(session, fleet, tenant_id, row.id, kind.task, (given,), seconds)
    return row


async def wait_inspected(
    sessions: async_sessionmaker[AsyncSession],
    bell: Bell,
    kind: Kind[RowT],
    tenant_id: TenantID,
    row_id: str,
    seconds: float,
) -> RowT:
    """The row once its inspection has ended, or as it is after `seconds`."""
    async with bell.listening(row_id) as ear:
        while True:
            async with sessions() as session:
                row = await kind.repository(session, tenant_id).get(row_id)
            if row.state != InspectionState.INSPECTING or seconds <= 0:
                return row
            await ear.wait(min(seconds, LOOK_AGAIN_SECONDS))
            seconds -= LOOK_AGAIN_SECONDS


async def change(session: AsyncSession, row: RowT, wanted: ResourceChange) -> None:
    """The row must be held. Raises TooManyLabels."""
    row.labels = changed(row.labels, wanted)
    row.name = wanted.name or row.name
    await terms.write(session, row.tenant_id, row.id, row.name, row.labels, row.kind)


async def delete(
    session: AsyncSession, kind: Kind[RowT], tenant_id: TenantID, row_id: str, check: Callable[[RowT], None]
) -> None:
    """Delete the row if `check` has nothing against it, and its bytes unless something else has the same content."""
    row = await kind.repository(session, tenant_id).get(row_id, for_update=True)
    check(row)
    steps = StepRepository(session, tenant_id)
    for step in await steps.of_subject(row.id):
        await fleet_service.request_cancel(session, step)
    await session.flush()  # the next look must not find what was just cancelled
    file_ids: tuple[str, ...] = row.file_ids
    for file_id in file_ids:
        if await steps.needs_file(file_id):
            raise StillInUse
    try:
        async with session.begin_nested():
            await session.delete(row)
    except IntegrityError as error:
        raise StillInUse from error
    for file_id in file_ids:
        await files.release(session, tenant_id, file_id)


class InspectionListener(Generic[RowT]):
    """Hears of the inspection steps of one kind of upload."""

    def __init__(self, kind: Kind[RowT]) -> None:
        self.kind = kind

    async def hold(self, session: AsyncSession, step: StepRow) -> None:
        await session.get(self.kind.row, step.subject_id, with_for_update={"of": self.kind.row})

    async def started(self, session: AsyncSession, step: StepRow) -> None:
        pass

    async def brief(self, session: AsyncSession, step: StepRow) -> Task:  # noqa: ARG002 - all is in the step
        return cast("Task", step.task)

    async def told(self, session: AsyncSession, step: StepRow, beat: Heartbeat) -> None:
        pass

    async def retried(self, session: AsyncSession, step: StepRow) -> None:
        pass

    async def ended(self, session: AsyncSession, step: StepRow, outputs: tuple[OutputFile, ...]) -> None:  # noqa: ARG002 - an inspection makes no files
        row = await session.get(self.kind.row, step.subject_id)
        if row is None:  # deleted while it was inspected
            return
        if step.state == StepState.SUCCEEDED and step.result is not None:
            await _prove(session, row)
            row.state, row.facts = InspectionState.READY, step.result.facts
        else:
            row.state, row.failure = InspectionState.REJECTED, step.failure or _unknown()
        await terms.write(session, row.tenant_id, row.id, row.name, row.labels, row.kind)
        await ring(session, row.id)
        kind = self.kind.ready if row.state == InspectionState.READY else self.kind.rejected
        notice = UploadNotice(id=row.id, name=row.name, state=row.state, failure=row.failure)
        await webhooks.emit(session, TenantID(row.tenant_id), kind, notice)


async def _prove(session: AsyncSession, row: Any) -> None:
    """The worker has compared the hash of what it inspected."""
    tenant_id, announced = TenantID(row.tenant_id), row.file
    row.file = await files.prove(session, tenant_id, announced)
    if row.file is not announced:
        await session.flush()  # the other copy can only go after the row that refers to it
        await files.release(session, tenant_id, announced.id)


def _unknown() -> Failure:
    return Failure(code=FailureCode.INTERNAL_ERROR, message="The inspection did not end.", hint="Upload it again.")
