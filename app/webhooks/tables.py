from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Double, ForeignKey, Index, SmallInteger, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, Id, IdType, Json, PrimaryId
from whetstone.contract.types import Contract
from whetstone.contract.webhooks import Notice, WebhookKind


class StoredSecret(Contract):
    """A signing secret, sealed; `until` is set on one that was replaced and still signs."""

    sealed: str
    until: datetime | None = None


class WebhookRow(Base):
    __tablename__ = "webhooks"

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), index=True)
    url: Mapped[str] = mapped_column(String(2000))
    events: Mapped[tuple[WebhookKind, ...]] = mapped_column(Json(tuple[WebhookKind, ...]))
    description: Mapped[str] = mapped_column(String(200))
    secrets: Mapped[tuple[StoredSecret, ...]] = mapped_column(Json(tuple[StoredSecret, ...]))
    enabled: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[str | None] = mapped_column(String(200))
    failing_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[Created]


class EventRow(Base):
    __tablename__ = "events"

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), index=True)
    kind: Mapped[str] = mapped_column(String(40))
    data: Mapped[Any] = mapped_column(Json(Notice))
    created_at: Mapped[Created] = mapped_column(index=True)


class DeliveryRow(Base):
    """`due_at` is when it is sent next; while it is being sent, when its sender is taken for dead."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_due", "due_at", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_webhook", "webhook_id", "id"),
    )

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    webhook_id: Mapped[Id] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event_id: Mapped[Id] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[Created]


class AttemptRow(Base):
    __tablename__ = "delivery_attempts"

    delivery_id: Mapped[str] = mapped_column(IdType, ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    milliseconds: Mapped[float] = mapped_column(Double)
    status: Mapped[int | None] = mapped_column(SmallInteger)
    error: Mapped[str | None] = mapped_column(String(300))
    answer: Mapped[str] = mapped_column(String(1000))
