from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, Id, IdType, Json
from whetstone.contract.provenance import Envelope


class SigningKeyRow(Base):
    """A public key that has signed something. It is nobody's secret and no tenant's own."""

    __tablename__ = "signing_keys"

    keyid: Mapped[str] = mapped_column(String(64), primary_key=True)
    public_key: Mapped[str] = mapped_column(Text)
    created_at: Mapped[Created]


class ManifestRow(Base):
    """What was signed of the files that a step made."""

    __tablename__ = "manifests"

    step_id: Mapped[str] = mapped_column(IdType, ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    job_id: Mapped[Id] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    envelope: Mapped[Envelope] = mapped_column(Json(Envelope))
    created_at: Mapped[Created]
