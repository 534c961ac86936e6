from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, Id, Json, PrimaryId
from whetstone.contract.checks import CheckSpec, Finding, SideBySide

Findings = tuple[Finding, ...]
Measurements = tuple[SideBySide, ...]


class CheckRow(Base):
    """The candidate is no foreign key: a verdict stands when its model is gone."""

    __tablename__ = "checks"
    __table_args__ = (Index("ix_checks_tenant_id_id", "tenant_id", "id"),)

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    spec: Mapped[CheckSpec] = mapped_column(Json(CheckSpec))
    state: Mapped[str] = mapped_column(String(20))
    outcome: Mapped[str | None] = mapped_column(String(20))
    findings: Mapped[Findings] = mapped_column(Json(Findings))
    measured: Mapped[Measurements] = mapped_column(Json(Measurements))
    created_at: Mapped[Created]
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
