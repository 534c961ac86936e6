from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, Id, PrimaryId, Timestamp


class ShareRow(Base):
    """A link to a report; whoever has the secret behind `digest` may look at it."""

    __tablename__ = "shares"

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[Id]
    note: Mapped[str] = mapped_column(String(200))
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    views: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[Created]
    expires_at: Mapped[Timestamp]
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_viewed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
