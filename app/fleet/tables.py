from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, Id, Json, PrimaryId, Timestamp
from whetstone.contract.failures import Failure
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.steps import InputRole, Limits, StepResult, Task
from whetstone.contract.types import Contract, FileName


class StepInput(Contract):
    """An input of a step, by the tenant's file; `preprocessing` says how a dataset is read."""

    role: InputRole
    file_id: str
    filename: FileName
    preprocessing: Preprocessing | None = None


class StepRow(Base):
    __tablename__ = "steps"
    __table_args__ = (
        Index("ix_steps_lease", "lease_until", postgresql_where=text("state = 'running'")),
        Index("ix_steps_open", "tenant_id", "id", postgresql_where=text("state in ('queued', 'running')")),
        Index("ix_steps_waiting", "sent_at", postgresql_where=text("state = 'queued'")),
    )

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    subject_id: Mapped[Id] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(String(20))
    target: Mapped[str | None] = mapped_column(String(60))
    hardware: Mapped[str] = mapped_column(String(60))
    toolkit: Mapped[str | None] = mapped_column(String(60))
    task: Mapped[Any] = mapped_column(Json(Task))
    inputs: Mapped[tuple[StepInput, ...]] = mapped_column(Json(tuple[StepInput, ...]))
    limits: Mapped[Limits] = mapped_column(Json(Limits))
    state: Mapped[str] = mapped_column(String(20))
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    worker_id: Mapped[Id | None]
    lease_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    progress: Mapped[float] = mapped_column(default=0.0)
    message: Mapped[str | None] = mapped_column(String(500))
    result: Mapped[Any | None] = mapped_column(Json(StepResult))
    failure: Mapped[Failure | None] = mapped_column(Json(Failure))
    queued_at: Mapped[Created]
    sent_at: Mapped[Created]
    sends: Mapped[int] = mapped_column(default=1)
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class WorkerRow(Base):
    __tablename__ = "workers"

    id: Mapped[PrimaryId]
    name: Mapped[str] = mapped_column(String(200))
    hardware: Mapped[str] = mapped_column(String(60), index=True)
    targets: Mapped[list[str]] = mapped_column(JSONB)
    toolkits: Mapped[list[str]] = mapped_column(JSONB)
    version: Mapped[str] = mapped_column(String(50))
    cpu: Mapped[str] = mapped_column(String(200))
    cores: Mapped[int]
    memory: Mapped[int] = mapped_column(BigInteger)
    first_seen_at: Mapped[Created]
    last_seen_at: Mapped[Timestamp]
