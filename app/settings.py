"""Every setting of the control plane, read from `WHETSTONE_…` variables when asked for, never at import."""

from email.utils import parseaddr
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from whetstone.contract.identity import Role
from whetstone.contract.quotas import Quotas
from whetstone.contract.targets import HardwareClass


class LeaseSettings(BaseModel):
    """How long a worker may be silent, and how often a step is tried."""

    model_config = ConfigDict(frozen=True)

    seconds: float = Field(default=30, gt=0)
    max_attempts: int = Field(default=3, ge=1)
    sweep_every: float = Field(default=2, gt=0)
    resend_after: float = Field(default=60, gt=0)


class LimitSettings(BaseModel):
    """What one upload, one request body and one step may take."""

    model_config = ConfigDict(frozen=True)

    upload_bytes: int = Field(default=10 * 2**30, gt=0)
    body_bytes: int = Field(default=2 * 2**20, gt=0)
    inspect_seconds: float = Field(default=120, gt=0)
    report_seconds: float = Field(default=120, gt=0)
    step_memory: int = Field(default=8 * 2**30, gt=0)
    step_file_size: int = Field(default=20 * 2**30, gt=0)
    url_seconds: int = Field(default=24 * 3600, gt=0)
    upload_hours: float = Field(default=72, gt=0)
    closing_days: float = Field(default=14, ge=0)


class S3Settings(BaseModel):
    """How the bucket of `s3://…` is reached; `public_endpoint` by clients and workers, where that differs.

    Without a key, credentials are looked for where AWS tools look: `AWS_…` variables, files, the machine's role.
    """

    model_config = ConfigDict(frozen=True)

    endpoint: str | None = None
    public_endpoint: str | None = None
    region: str = "us-east-1"
    path_style: bool = False
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    credentials_file: Path | None = None


class RateSettings(BaseModel):
    """What a minute takes: requests of a tenant, logins from an address or for an account, and looks at shared reports
    from an address.
    """

    model_config = ConfigDict(frozen=True)

    requests: int = Field(default=1200, ge=1)
    logins: int = Field(default=10, ge=1)
    links: int = Field(default=60, ge=1)


class WebhookSettings(BaseModel):
    """When a failed delivery is sent again (seconds after each failure, a day in all), and where webhooks may lead."""

    model_config = ConfigDict(frozen=True)

    retry_seconds: tuple[float, ...] = (5, 60, 300, 1800, 7200, 10_800, 18_000, 21_600, 25_200)
    timeout_seconds: float = Field(default=15, gt=0)
    disable_after_hours: float = Field(default=72, ge=0)
    allow_http: bool = False
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()


class MailTls(StrEnum):
    """How the connection to the mail server is protected: not at all, from STARTTLS on, or from its first byte."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


_MAIL_PORTS = {MailTls.NONE: 25, MailTls.STARTTLS: 587, MailTls.TLS: 465}
NO_SENDER = "Whetstone <whetstone@localhost>"


class MailSettings(BaseModel):
    """The mail server; without `host` letters are files in `folder`. What is not taken is tried again after each of
    `retry_seconds`, and then after the last of them for as long as the letter is of use.
    """

    model_config = ConfigDict(frozen=True)

    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: MailTls = MailTls.STARTTLS
    user: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    sender: str = NO_SENDER
    folder: Path = Path("var/mail")
    timeout_seconds: float = Field(default=15, gt=0)
    retry_seconds: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(10, 60, 300, 900, 3600), min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [self.password, self.password_file]
        if given.count(None) != (1 if self.user is not None else len(given)):
            raise ValueError("say WHETSTONE_MAIL__USER together with either …__PASSWORD or …__PASSWORD_FILE")
        if self.user is not None and self.tls is MailTls.NONE:
            raise ValueError("a password is not sent in the clear: set WHETSTONE_MAIL__TLS to starttls or tls")
        if self.host is not None and self.sender == NO_SENDER:
            raise ValueError("set WHETSTONE_MAIL__SENDER, such as `Whetstone <whetstone@example.com>`")
        if "@" not in parseaddr(self.sender)[1]:
            raise ValueError("WHETSTONE_MAIL__SENDER is no address, such as `Whetstone <whetstone@example.com>`")
        return self

    @property
    def at_port(self) -> int:
        return self.port or _MAIL_PORTS[self.tls]

    def secret(self) -> str:
        """The password, read when it is used, so that a file may be exchanged."""
        if self.password_file is not None:
            return self.password_file.read_text().strip()
        return "" if self.password is None else self.password.get_secret_value()


class DomainRule(BaseModel):
    """Which tenant people of an email domain may join by themselves, and as what."""

    model_config = ConfigDict(frozen=True)

    tenant: str = Field(pattern="^ten_")
    role: Literal[Role.ADMIN, Role.MEMBER, Role.VIEWER] = Role.MEMBER


class OidcSettings(BaseModel):
    """The identity provider (OpenID Connect); without `issuer` there is none.

    `link_by_email` lets whoever the provider says owns an address into the account of that address. `domains` lets in
    people of an email domain whom nobody has invited.
    """

    model_config = ConfigDict(frozen=True)

    issuer: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    client_secret_file: Path | None = None
    client_auth: Literal["basic", "post"] = "basic"
    link_by_email: bool = False
    domains: dict[Annotated[str, Field(pattern=r"^[^A-Z@\s]+$")], DomainRule] = {}
    timeout_seconds: float = Field(default=10, gt=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.issuer is None:
            return self
        if self.client_id is None:
            raise ValueError("set WHETSTONE_OIDC__CLIENT_ID, as the provider has it for this service")
        if self.client_secret is not None and self.client_secret_file is not None:
            raise ValueError("say either WHETSTONE_OIDC__CLIENT_SECRET or …__CLIENT_SECRET_FILE")
        address = urlsplit(self.issuer)
        if address.scheme != "https" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("WHETSTONE_OIDC__ISSUER is an https:// address")
        return self

    def secret(self) -> str | None:
        """The client's secret, read when it is used; None for a public client."""
        if self.client_secret_file is not None:
            return self.client_secret_file.read_text().strip()
        return None if self.client_secret is None else self.client_secret.get_secret_value()


class Settings(BaseSettings):
    """`WHETSTONE_DATABASE_URL`, `WHETSTONE_LEASE__SECONDS`, …; see docs/settings.md."""

    model_config = SettingsConfigDict(
        env_prefix="WHETSTONE_", env_nested_delimiter="__", frozen=True, extra="ignore", secrets_dir=None
    )

    database_url: str
    owner_database_url: str | None = None
    broker_url: str
    storage_url: str
    s3: S3Settings = S3Settings()
    secret_key: SecretStr
    fleet_token: SecretStr
    signing_key: Path | None = None
    public_url: str = "http://127.0.0.1:8000"
    pool_size: int = Field(default=10, ge=1)
    log_level: str = "INFO"
    lease: LeaseSettings = LeaseSettings()
    limits: LimitSettings = LimitSettings()
    rates: RateSettings = RateSettings()
    webhooks: WebhookSettings = WebhookSettings()
    mail: MailSettings = MailSettings()
    oidc: OidcSettings = OidcSettings()
    cors_origins: tuple[str, ...] = ()
    prices: dict[HardwareClass, Annotated[float, Field(gt=0)]] = {}
    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    plans: dict[Annotated[str, Field(min_length=1, max_length=40)], Quotas] = {"standard": Quotas()}
    default_plan: str = "standard"

    @model_validator(mode="after")
    def _default_plan_is_a_plan(self) -> Self:
        if self.default_plan not in self.plans:
            raise ValueError(f"WHETSTONE_DEFAULT_PLAN is `{self.default_plan}`, which WHETSTONE_PLANS does not have")
        return self

    def plan(self, name: str | None) -> str:
        """The plan of a tenant that was given this one: the default plan where it was given none that is left."""
        return name if name in self.plans else self.default_plan

    def quotas(self, name: str | None) -> Quotas:
        return self.plans[self.plan(name)]


def local_folder(storage_url: str) -> Path | None:
    """The folder of a `file://` storage address, None for any other scheme."""
    return Path(storage_url.removeprefix("file://")) if storage_url.startswith("file://") else None
