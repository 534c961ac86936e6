from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKey, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.database import Base, Created, Id, IdType, Json, PrimaryId
from app.core.terms import list_indexes
from app.datasets.tables import DatasetRow
from app.models.tables import ModelRow
from whetstone.contract.failures import Failure
from whetstone.contract.jobs import JobEvent, JobSpec
from whetstone.contract.reports import JobReport, Verdict
from whetstone.contract.tuning import Values


class JobRow(Base):
    __tablename__ = "jobs"
    __table_args__ = list_indexes("jobs")

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(200, collation="C"))
    labels: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    model_id: Mapped[Id] = mapped_column(ForeignKey("models.id"), index=True)
    dataset_id: Mapped[Id | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    spec: Mapped[JobSpec] = mapped_column(Json(JobSpec))
    state: Mapped[str] = mapped_column(String(20))
    events: Mapped[int] = mapped_column(default=0)
    verdict: Mapped[Verdict | None] = mapped_column(Json(Verdict))
    report: Mapped[JobReport | None] = mapped_column(Json(JobReport), deferred=True)
    failure: Mapped[Failure | None] = mapped_column(Json(Failure))
    created_at: Mapped[Created]
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    model: Mapped[ModelRow] = relationship(lazy="raise")
    dataset: Mapped[DatasetRow | None] = relationship(lazy="raise")

    @property
    def kind(self) -> str:
        return self.spec.plan.kind


class JobEventRow(Base):
    """`seq` is given under the job's lock, so it has no gaps and follows the order of commits."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(IdType, ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    event: Mapped[Any] = mapped_column(Json(JobEvent))


class TrialRow(Base):
    """One trial of a study; the step runs it. See `TrialRead`."""

    __tablename__ = "trials"

    job_id: Mapped[str] = mapped_column(IdType, ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    step_id: Mapped[Id] = mapped_column(ForeignKey("steps.id"))
    state: Mapped[str] = mapped_column(String(20))
    parameters: Mapped[Any | None] = mapped_column(Json(Values))
    values: Mapped[tuple[float, ...] | None] = mapped_column(Json(tuple[float, ...]))
    reported: Mapped[tuple[float, ...] | None] = mapped_column(Json(tuple[float, ...]))
    over: Mapped[float | None]
    failure: Mapped[Failure | None] = mapped_column(Json(Failure))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
