from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKey, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from app.artifacts.tables import FileRow
from app.core.database import Created, Id, Json, PrimaryId
from whetstone.contract.failures import Failure


class UploadedColumns:
    """What models and datasets have in common: a file of the tenant, and what its inspection found."""

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(200, collation="C"))
    labels: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    filename: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(20))
    failure: Mapped[Failure | None] = mapped_column(Json(Failure))
    created_at: Mapped[Created]
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    file_id: Mapped[Id] = mapped_column(ForeignKey("files.id"), index=True)

    @property
    def file_ids(self) -> tuple[str, ...]:
        """All files that belong to it."""
        return (self.file_id,)

    @declared_attr
    def file(self) -> Mapped[FileRow]:
        mine: Callable[[], Any] = lambda: self.file_id  # noqa: E731 - asked once the columns are known
        return relationship(FileRow, lazy="joined", innerjoin=True, foreign_keys=mine)
