from app.core.errors import AppError
from app.core.ids import Prefix
from app.core.tenancy import TenantRepository
from app.datasets.tables import DatasetRow
from app.uploads.service import InspectionListener, Kind
from whetstone.contract.datasets import DatasetRead
from whetstone.contract.models import InspectionState
from whetstone.contract.steps import InputRole, InspectDataset
from whetstone.contract.webhooks import WebhookKind


class DatasetNotFound(AppError):
    """There is no such dataset."""

    code, status = "dataset_not_found", 404


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
LISTENER = InspectionListener(KIND)


def read(row: DatasetRow) -> DatasetRead:
    return DatasetRead(
        id=row.id,
        name=row.name,
        filename=row.filename,
        size=row.file.size,
        sha256=row.file.sha256,
        preprocessing=row.preprocessing,
        state=InspectionState(row.state),
        facts=row.facts,
        failure=row.failure,
        created_at=row.created_at,
    )
