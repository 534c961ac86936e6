from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, Id, IdType, Json, PrimaryId, Timestamp

Counts = dict[str, int]


class ClosingRow(Base):
    """A tenant that is to be deleted. `purged_at`: everything is gone but what links still in use may bring back."""

    __tablename__ = "tenant_closings"

    tenant_id: Mapped[str] = mapped_column(IdType, ForeignKey("tenants.id"), primary_key=True)
    receipt_id: Mapped[Id]
    requested_by: Mapped[Id]
    requested_at: Mapped[Timestamp]
    due_at: Mapped[Timestamp] = mapped_column(index=True)
    purged_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    rows: Mapped[Counts] = mapped_column(Json(Counts), default=dict)
    objects: Mapped[int] = mapped_column(BigInteger, default=0)


class ReceiptRow(Base):
    """What is left of a deleted tenant: that it was deleted, signed. It is nobody's."""

    __tablename__ = "deletion_receipts"

    id: Mapped[PrimaryId]
    content: Mapped[bytes] = mapped_column(LargeBinary)
    keyid: Mapped[str] = mapped_column(String(64))
    sig: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[Created]
