from sqlalchemy.ext.asyncio import AsyncSession

from app.artifacts import files
from app.artifacts import service as artifacts
from app.core.errors import AppError
from app.core.ids import Prefix
from app.core.tenancy import TenantID, TenantRepository
from app.fleet.tables import StepRow
from app.models.tables import ModelRow
from app.uploads.service import InspectionListener, Kind
from whetstone.contract.models import InspectionState, ModelRead
from whetstone.contract.steps import InputRole, InspectModel, OutputFile
from whetstone.contract.webhooks import WebhookKind


class ModelNotFound(AppError):
    """There is no such model."""

    code, status = "model_not_found", 404


class ModelRepository(TenantRepository[ModelRow]):
    row, missing = ModelRow, ModelNotFound


KIND = Kind(
    ModelRow,
    ModelRepository,
    Prefix.MODEL,
    InputRole.MODEL,
    InspectModel(),
    ready=WebhookKind.MODEL_READY,
    rejected=WebhookKind.MODEL_REJECTED,
)


class ModelListener(InspectionListener[ModelRow]):
    """Keeps the ONNX form that the inspection made of a model that came in another."""

    async def ended(self, session: AsyncSession, step: StepRow, outputs: tuple[OutputFile, ...]) -> None:
        row = await session.get(ModelRow, step.subject_id)
        for output in outputs:
            file = await artifacts.uploaded(session, TenantID(step.tenant_id), output)
            if row is None:  # deleted while it was inspected
                await files.release(session, TenantID(step.tenant_id), file.id)
            else:
                row.imported_file_id = file.id
        await super().ended(session, step, outputs)


LISTENER = ModelListener(KIND)


def read(row: ModelRow) -> ModelRead:
    return ModelRead(
        id=row.id,
        name=row.name,
        labels=row.labels,
        filename=row.filename,
        size=row.file.size,
        sha256=row.file.sha256,
        state=InspectionState(row.state),
        facts=row.facts,
        failure=row.failure,
        created_at=row.created_at,
    )
