"""Table of contents: every ORM table."""

from app.artifacts.tables import ArtifactRow, DoomedObjectRow, FileRow, UploadRow
from app.checks.tables import CheckRow
from app.closing.tables import ClosingRow, ReceiptRow
from app.core.audit import AuditRow
from app.core.database import Base
from app.core.outbox import OutboxRow
from app.core.terms import TermRow
from app.datasets.tables import DatasetRow
from app.fleet.tables import StepRow, WorkerRow
from app.identity.tables import (
    ApiKeyRow,
    InvitationRow,
    LoginFailureRow,
    RecoveryCodeRow,
    SecondFactorRow,
    ServiceAccountRow,
    SessionRow,
    StoredAnswerRow,
    UserRow,
)
from app.jobs.tables import JobEventRow, JobRow, TrialRow
from app.mail.tables import EmailRow
from app.models.tables import ModelRow
from app.oidc.tables import ExternalIdentityRow
from app.provenance.tables import ManifestRow, SigningKeyRow
from app.resets.tables import PasswordResetRow, ResetRequestRow
from app.retention.tables import RetentionRow
from app.shares.tables import ShareRow
from app.templates.tables import TemplateRow
from app.tenants.tables import TenantRow
from app.usage.tables import BudgetRow, StepUsageRow, UsageDayRow
from app.webhooks.tables import AttemptRow, DeliveryRow, EventRow, WebhookRow

TABLES = (
    TenantRow,
    UserRow,
    ServiceAccountRow,
    ExternalIdentityRow,
    ApiKeyRow,
    StoredAnswerRow,
    SessionRow,
    InvitationRow,
    LoginFailureRow,
    SecondFactorRow,
    RecoveryCodeRow,
    EmailRow,
    ResetRequestRow,
    PasswordResetRow,
    FileRow,
    UploadRow,
    DoomedObjectRow,
    ModelRow,
    DatasetRow,
    JobRow,
    JobEventRow,
    TrialRow,
    CheckRow,
    TemplateRow,
    ShareRow,
    StepRow,
    WorkerRow,
    ArtifactRow,
    SigningKeyRow,
    ManifestRow,
    OutboxRow,
    TermRow,
    AuditRow,
    StepUsageRow,
    UsageDayRow,
    BudgetRow,
    RetentionRow,
    ClosingRow,
    ReceiptRow,
    WebhookRow,
    EventRow,
    DeliveryRow,
    AttemptRow,
)
metadata = Base.metadata
