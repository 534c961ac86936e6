from sqlalchemy import ForeignKey, LargeBinary, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, Id, PrimaryId, Timestamp


class EmailRow(Base):
    """A letter that has not been sent yet. `content` is a sealed `Letter`, since some have a secret in them."""

    __tablename__ = "emails"

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), index=True)
    recipient: Mapped[str] = mapped_column(String(320))
    content: Mapped[bytes] = mapped_column(LargeBinary)
    attempts: Mapped[int] = mapped_column(SmallInteger)
    due_at: Mapped[Timestamp] = mapped_column(index=True)
    expires_at: Mapped[Timestamp]
    created_at: Mapped[Created]
