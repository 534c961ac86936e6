from datetime import date, datetime

from sqlalchemy import BigInteger, Date, DateTime, Double, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Id, IdType, Json, PrimaryId

Moment = DateTime(timezone=True)
Shares = tuple[float, ...]


class StepUsageRow(Base):
    """A step that is paid for; `id` is the step's. No foreign key leads there: use outlives what it was for."""

    __tablename__ = "step_usage"
    __table_args__ = (
        Index("ix_step_usage_tenant_id_finished_at", "tenant_id", "finished_at"),
        Index("ix_step_usage_tenant_id_subject_id", "tenant_id", "subject_id"),
    )

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    subject_id: Mapped[Id]
    kind: Mapped[str] = mapped_column(String(20))
    hardware: Mapped[str] = mapped_column(String(60))
    started_at: Mapped[datetime] = mapped_column(Moment)
    finished_at: Mapped[datetime] = mapped_column(Moment)
    seconds: Mapped[float] = mapped_column(Double)
    amount: Mapped[float | None] = mapped_column(Double)
    currency: Mapped[str | None] = mapped_column(String(3))


class UsageDayRow(Base):
    __tablename__ = "usage_days"

    tenant_id: Mapped[str] = mapped_column(IdType, ForeignKey("tenants.id"), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    storage_bytes: Mapped[int] = mapped_column(BigInteger)


class BudgetRow(Base):
    """`told` is the highest share that was told of in `told_month`, the month's first day."""

    __tablename__ = "budgets"

    tenant_id: Mapped[str] = mapped_column(IdType, ForeignKey("tenants.id"), primary_key=True)
    measure: Mapped[str] = mapped_column(String(20))
    monthly: Mapped[float] = mapped_column(Double)
    alert_at: Mapped[Shares] = mapped_column(Json(Shares))
    told_month: Mapped[date | None] = mapped_column(Date)
    told: Mapped[float | None] = mapped_column(Double)
