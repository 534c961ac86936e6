from app.core.errors import AppError
from app.core.tenancy import TenantRepository
from app.identity.tables import ServiceAccountRow


class ServiceAccountNotFound(AppError):
    """There is no such service account."""

    code, status = "service_account_not_found", 404


class ServiceAccountRepository(TenantRepository[ServiceAccountRow]):
    row, missing = ServiceAccountRow, ServiceAccountNotFound
