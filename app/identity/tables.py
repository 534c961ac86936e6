from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, LargeBinary, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.database import Base, Created, Id, IdType, Json, PrimaryId, Timestamp
from whetstone.contract.identity import Scope

Scopes = frozenset[Scope]
Moment = DateTime(timezone=True)


class AccountRow(Base):
    """Whom a request may come from: a person or a program. A query for one of the two kinds finds none of the other."""

    __tablename__ = "users"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_abstract": True}  # noqa: RUF012 - SQLAlchemy's own annotation

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    role: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[Created]
    disabled_at: Mapped[datetime | None] = mapped_column(Moment)


class UserRow(AccountRow):
    """A person. Without a password they sign in by an identity provider alone."""

    __mapper_args__ = {"polymorphic_identity": "person"}  # noqa: RUF012 - SQLAlchemy's own annotation

    email: Mapped[str] = mapped_column(String(320), unique=True, nullable=True)
    password_hash: Mapped[str | None] = mapped_column(String(500))


class ServiceAccountRow(AccountRow):
    """A program, with API keys and no way to log in."""

    __mapper_args__ = {"polymorphic_identity": "service"}  # noqa: RUF012 - SQLAlchemy's own annotation

    name: Mapped[str] = mapped_column(String(200), nullable=True)


class ApiKeyRow(Base):
    """`scopes` None means whatever the user may. A key that was rotated ends at `expires_at`."""

    __tablename__ = "api_keys"

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), index=True)
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    prefix: Mapped[str] = mapped_column(String(20))
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[Scopes | None] = mapped_column(Json(Scopes))
    created_at: Mapped[Created]
    expires_at: Mapped[datetime | None] = mapped_column(Moment)
    last_used_at: Mapped[datetime | None] = mapped_column(Moment)
    revoked_at: Mapped[datetime | None] = mapped_column(Moment)
    user: Mapped[AccountRow] = relationship(lazy="raise")


class SessionRow(Base):
    """A browser that is signed in; its cookie holds the secret behind `digest`."""

    __tablename__ = "sessions"

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    address: Mapped[str] = mapped_column(String(50))
    browser: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[Created]
    last_seen_at: Mapped[Created]
    user: Mapped[UserRow] = relationship(lazy="raise")


class SecondFactorRow(Base):
    """A user's authenticator app. `secret` is sealed; `last_step` is the time step of the last code that was taken."""

    __tablename__ = "second_factors"

    user_id: Mapped[str] = mapped_column(IdType, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    last_step: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[Created]
    confirmed_at: Mapped[datetime | None] = mapped_column(Moment)


class RecoveryCodeRow(Base):
    """A recovery code that was not used yet."""

    __tablename__ = "recovery_codes"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"))
    user_id: Mapped[Id] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)


class LoginFailureRow(Base):
    """Failed tries in a row at a password or a second factor, by a hash of what was given as email address, whether
    or not anyone has it.
    """

    __tablename__ = "login_failures"

    account: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    count: Mapped[int] = mapped_column(SmallInteger)
    last_at: Mapped[Timestamp]


class InvitationRow(Base):
    __tablename__ = "invitations"

    id: Mapped[PrimaryId]
    tenant_id: Mapped[Id] = mapped_column(ForeignKey("tenants.id"), index=True)
    email: Mapped[str] = mapped_column(String(320))
    role: Mapped[str] = mapped_column(String(20))
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[Created]
    expires_at: Mapped[Timestamp]


class StoredAnswerRow(Base):
    """What was answered to a request with an Idempotency-Key; `body` is sealed."""

    __tablename__ = "stored_answers"

    tenant_id: Mapped[str] = mapped_column(IdType, ForeignKey("tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255, collation="C"), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column(SmallInteger)
    media_type: Mapped[str | None] = mapped_column(String(100))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(Moment, index=True)
