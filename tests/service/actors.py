"""Who takes part in the service's tests: new tenants, and a worker moved by hand that speaks the real protocol."""

import asyncio
import base64
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from typeid import TypeID

from app.core.database import create_engine, plain_url, sessions
from app.core.ids import Prefix, new_id
from app.core.scope import any_tenant
from app.core.signing import Signer, Use
from app.core.tenancy import TenantID
from app.embedded.service import Running
from app.identity import service as identity
from app.keys.service import create_key
from app.settings import Settings
from app.tenants.tables import TenantRow
from tests.service import facts
from whetstone.client import Client
from whetstone.contract.datasets import DatasetFacts, DatasetRead
from whetstone.contract.models import ModelFacts, ModelRead
from whetstone.contract.steps import DatasetInspected, Finish, ModelInspected, Order
from workers.control_plane import ControlPlane

PASSWORD = "a password"


def new_tenant(service: Running, tenant_id: str | None = None) -> str:
    """Make a tenant with one user; returns an API key."""
    made = TenantID(tenant_id or new_id(Prefix.TENANT))

    async def make() -> str:
        engine = create_engine(service.environment["WHETSTONE_DATABASE_URL"], 1)
        with any_tenant():
            async with sessions(engine).begin() as session:
                session.add(TenantRow(id=made, name="test"))
                await session.flush()
                user = await identity.create_user(session, made, f"{made}@example.com", PASSWORD)
                key = await create_key(session, made, user.id, "test")
        await engine.dispose()
        return key.secret

    return asyncio.run(make())


def query(service: Running, sql: str, *args: Any) -> list[tuple[Any, ...]]:
    """Look into (or change) the database behind the service's back."""
    with psycopg.connect(plain_url(service.owner_url), autocommit=True) as connection:
        cursor = connection.execute(sql, args)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []


class Authenticator:
    """An authenticator app."""

    def __init__(self, service: Running, user_id: str, secret: str) -> None:
        self.key = base64.b32decode(secret)
        self._totp = TOTP(self.key, 6, SHA1(), 30)  # noqa: S303 - what such apps use
        self._service = service
        self._user_id = user_id

    def code(self) -> str:
        """A code that is taken, as if the last one had been used long ago."""
        query(self._service, "update second_factors set last_step = 0 where user_id = %s", self._user_id)
        return self._totp.generate(int(time.time())).decode()


def email_of(client: Client) -> str:
    return client.members.get(client.me().user_id).email


def enrolled(service: Running, client: Client, password: str = PASSWORD) -> tuple[Authenticator, tuple[str, ...]]:
    app = Authenticator(service, client.me().user_id, client.account.set_up_second_factor(password).secret)
    return app, client.account.confirm_second_factor(app.code())


class Guest:
    """Claims and ends steps as the test says."""

    def __init__(self, service: Running) -> None:
        self.service = service
        self.control = ControlPlane(service.url, str(TypeID(prefix="wrk")), patience=10)
        self._signer = Signer(service.environment["WHETSTONE_SECRET_KEY"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.control.close()

    def token(self, step_id: str) -> str:
        """What the broker's message for this step carries."""
        tenant_id = query(self.service, "select tenant_id from steps where id = %s", step_id)[0][0]
        return self._signer.sign(Use.STEP, 60, step_id=step_id, tenant_id=tenant_id)

    def claim(self, subject_id: str) -> Order:
        """Claim the queued step of a model, dataset or job."""
        found = query(
            self.service, "select id from steps where subject_id = %s and state = 'queued' order by id", subject_id
        )
        return self.control.claim(self.token(found[0][0]))

    def model(self, client: Client, path: Path, found: ModelFacts = facts.MODEL) -> ModelRead:
        """Upload a model and inspect it by hand."""
        row = upload(client, "/v1/models", path, ModelRead)
        self.control.finish(self.claim(row.id).token, Finish(result=ModelInspected(facts=found)))
        return client.models.get(row.id)

    def dataset(self, client: Client, path: Path, found: DatasetFacts = facts.DATASET) -> DatasetRead:
        """Upload a dataset and inspect it by hand."""
        row = upload(client, "/v1/datasets", path, DatasetRead)
        self.control.finish(self.claim(row.id).token, Finish(result=DatasetInspected(facts=found)))
        return client.datasets.get(row.id)


def upload(client: Client, route: str, path: Path, kind: type[Any]) -> Any:
    """Upload without waiting for the inspection."""
    headers = {"Content-Type": "application/octet-stream"}
    answer = client.request("POST", route, params={"filename": path.name}, headers=headers, content=path.read_bytes())
    return kind.model_validate_json(answer.content)


def until(found: Callable[[], Any], seconds: float = 15) -> Any:
    """What `found` finds in the end. Fails if that takes too long."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return value


def settings_of(service: Running) -> Settings:
    """As the processes of a service read them."""
    names = {name: value for name, value in service.environment.items() if name.startswith("WHETSTONE_")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        return Settings()
