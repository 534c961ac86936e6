from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.database import Base, Created, Id, PrimaryId, Timestamp


class FileRow(Base):
    """Bytes that a tenant has, once, however many rows refer to them.

    `sha256` is what was announced until it is `proven`; such a file stands for no content yet.
    """

    __tablename__ = "files"
    __table_args__ = (
        Index("ix_files_tenant_id_sha256", "tenant_id", "sha256", unique=True, postgresql_where=text("proven")),
    )

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String(200))
    proven: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]


class UploadRow(Base):
    """A file on its way to the storage; with a `file` once it is complete, until something is made of it.

    One for each content of a tenant: whoever announces the same again goes on with it.
    """

    __tablename__ = "uploads"
    __table_args__ = (UniqueConstraint("tenant_id", "sha256", "size"),)

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    part_size: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String(200))
    multipart: Mapped[str | None] = mapped_column(String(2000))
    file_id: Mapped[Id | None] = mapped_column(ForeignKey("files.id"), index=True)
    created_at: Mapped[Created]
    expires_at: Mapped[Timestamp] = mapped_column(index=True)
    file: Mapped[FileRow | None] = relationship(lazy="joined")


class DoomedObjectRow(Base):
    """An object to be deleted from storage at `due_at`.

    Written before an upload starts and taken back in the transaction that keeps it: whatever crashes in between,
    the bytes go. A link may still bring back what is gone: with `gone_at` it is deleted a second time, at `due_at`.
    """

    __tablename__ = "doomed_objects"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    gone_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


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
