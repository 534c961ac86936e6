from datetime import datetime

from sqlalchemy import DateTime, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, IdType, Json, Timestamp
from whetstone.contract.retention import RetentionRules


class RetentionRow(Base):
    __tablename__ = "retention_rules"

    tenant_id: Mapped[str] = mapped_column(IdType, ForeignKey("tenants.id"), primary_key=True)
    rules: Mapped[RetentionRules] = mapped_column(Json(RetentionRules))
    updated_at: Mapped[Timestamp]
    applied_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
