from sqlalchemy import BigInteger, ForeignKey, Identity, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Base, Created, Id, Timestamp


class ResetRequestRow(Base):
    """Someone asked for a new password for this address, which may be nobody's."""

    __tablename__ = "reset_requests"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(String(320))
    created_at: Mapped[Created]


class PasswordResetRow(Base):
    """A token that was sent and not used yet: whoever has it may choose a new password once."""

    __tablename__ = "password_resets"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[Created]
    expires_at: Mapped[Timestamp]
