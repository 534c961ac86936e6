from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.database import Base, Created, Id, PrimaryId


class FileRow(Base):
    """Bytes that a tenant has, once, however many rows refer to them."""

    __tablename__ = "files"
    __table_args__ = (UniqueConstraint("tenant_id", "sha256"),)

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[Created]


class DoomedObjectRow(Base):
    """An object to be deleted from storage at `due_at`.

    Written before an upload starts and taken back in the transaction that keeps it: whatever crashes in between,
    the bytes go.
    """

    __tablename__ = "doomed_objects"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class ArtifactRow(Base):
    __tablename__ = "artifacts"

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id"), index=True)
    step_id: Mapped[Id] = mapped_column(ForeignKey("steps.id"))
    file_id: Mapped[Id] = mapped_column(ForeignKey("files.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(255))
    target: Mapped[str | None] = mapped_column(String(60))
    media_type: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[Created]
    file: Mapped[FileRow] = relationship(lazy="joined", innerjoin=True)
