from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, PrimaryId


class TenantRow(Base):
    __tablename__ = "tenants"

    id: Mapped[PrimaryId]
    name: Mapped[str] = mapped_column(String(200))
    plan: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[Created]
