from app.core.errors import AppError
from app.core.ids import Prefix
from app.core.tenancy import TenantRepository
from app.models.tables import ModelRow
from app.uploads.service import InspectionListener, Kind
from whetstone.contract.models import InspectionState, ModelRead
from whetstone.contract.steps import InputRole, InspectModel
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
LISTENER = InspectionListener(KIND)


def read(row: ModelRow) -> ModelRead:
    return ModelRead(
        id=row.id,
        name=row.name,
        filename=row.filename,
        size=row.file.size,
        sha256=row.file.sha256,
        state=InspectionState(row.state),
        facts=row.facts,
        failure=row.failure,
        created_at=row.created_at,
    )
