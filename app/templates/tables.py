from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, Id, Json, PrimaryId
from whetstone.contract.templates import JobTemplate


class TemplateRow(Base):
    __tablename__ = "templates"
    __table_args__ = (UniqueConstraint("tenant_id", "name"), Index("ix_templates_tenant_id_id", "tenant_id", "id"))

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(200, collation="C"))
    description: Mapped[str] = mapped_column(String(1000))
    order: Mapped[JobTemplate] = mapped_column("job_order", Json(JobTemplate))
    created_at: Mapped[Created]
    changed_at: Mapped[Created]
