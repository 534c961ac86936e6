from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import AppError
from app.core.ids import Prefix
from app.core.tenancy import TenantID, TenantRepository
from app.datasets.tables import DatasetRow
from app.fleet.tables import StepRow
from app.uploads.service import InspectionListener, Kind
from whetstone.contract.datasets import DatasetRead
from whetstone.contract.models import InspectionState
from whetstone.contract.previews import DatasetPreview
from whetstone.contract.steps import DatasetInspected, InputRole, InspectDataset, OutputFile
from whetstone.contract.webhooks import WebhookKind


class DatasetNotFound(AppError):
    """There is no such dataset."""

    code, status = "dataset_not_found", 404


class NoPreview(AppError):
    """There is no preview of this dataset: it is still inspected, was rejected, or came before previews were made."""

    code, status = "no_preview", 404
    hint = "Ask for the dataset with `Prefer: wait=60` first; upload it again if it is an old one."


class DatasetRepository(TenantRepository[DatasetRow]):
    row, missing = DatasetRow, DatasetNotFound


KIND = Kind(
    DatasetRow,
    DatasetRepository,
    Prefix.DATASET,
    InputRole.DATASET,
    InspectDataset(),
    ready=WebhookKind.DATASET_READY,
    rejected=WebhookKind.DATASET_REJECTED,
)


class DatasetListener(InspectionListener[DatasetRow]):
    """Keeps the look into the dataset that the inspection took, with the dataset and not with its step."""

    async def ended(self, session: AsyncSession, step: StepRow, outputs: tuple[OutputFile, ...]) -> None:
        row = await session.get(DatasetRow, step.subject_id)
        if isinstance(step.result, DatasetInspected):
            if row is not None:  # deleted while it was inspected
                row.preview = step.result.preview
            step.result = step.result.model_copy(update={"preview": None})
        await super().ended(session, step, outputs)


LISTENER = DatasetListener(KIND)


async def preview(session: AsyncSession, tenant_id: TenantID, dataset_id: str) -> DatasetPreview:
    """Raises DatasetNotFound, NoPreview."""
    row = await DatasetRepository(session, tenant_id).get(dataset_id)
    found = await session.scalar(select(DatasetRow.preview).where(DatasetRow.id == row.id))
    if found is None:
        raise NoPreview
    return found


def read(row: DatasetRow) -> DatasetRead:
    return DatasetRead(
        id=row.id,
        name=row.name,
        labels=row.labels,
        filename=row.filename,
        size=row.file.size,
        sha256=row.file.sha256,
        preprocessing=row.preprocessing,
        state=InspectionState(row.state),
        facts=row.facts,
        failure=row.failure,
        created_at=row.created_at,
    )
