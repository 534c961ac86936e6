"""What steps took is metered, paid for once, held against the plan, and told of when it reaches the budget."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from app.embedded import service as embedded
from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, until, upload
from tests.service.conftest import QUICK, data_folder
from whetstone.client import Client
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.models import ModelRead
from whetstone.contract.quotas import QuotaUse, Resource
from whetstone.contract.steps import Fail, Finish, ModelInspected, Order
from whetstone.contract.targets import HardwareClass
from whetstone.contract.usage import Measure, StepUse
from whetstone.contract.webhooks import BudgetNotice, WebhookKind
from whetstone.errors import Invalid, NotFound, QuotaExceeded
from workers.control_plane import Refused

CPU_HOUR = 36.0  # a cent a second
PLANS = {
    "standard": {},
    "small": {"storage_bytes": 1000, "minutes_a_month": {"cpu": 10}},
    "narrow": {"steps_at_once": 1},
    "slow": {"requests_a_minute": 3},
}
OPERATOR = {"WHETSTONE_PLANS": json.dumps(PLANS), "WHETSTONE_PRICES": json.dumps({"cpu": CPU_HOUR})}


@pytest.fixture(scope="module")
def priced() -> Iterator[Running]:
    """A service whose operator has set plans and prices."""
    with (
        data_folder() as folder,
        embedded.running(folder, "127.0.0.1", 0, worker=False, **QUICK, **OPERATOR) as running,
    ):
        yield running


@pytest.fixture
def client(priced: Running) -> Iterator[Client]:
    with Client(priced.url, new_tenant(priced)) as client:
        yield client


@pytest.fixture
def guest(priced: Running) -> Iterator[Guest]:
    with Guest(priced) as guest:
        yield guest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * 400)
    return path


def put_on(service: Running, client: Client, plan: str) -> None:
    """As the operator does it."""
    command = [sys.executable, "-m", "app", "plan", client.me().tenant_id, plan]
    subprocess.run(command, check=True, env=service.environment, capture_output=True)


def took(service: Running, order: Order, seconds: float) -> None:
    """Let the claim have been so long ago."""
    query(
        service, "update steps set started_at = now() - make_interval(secs => %s) where id = %s", seconds, order.step_id
    )


def inspect(guest: Guest, client: Client, path: Path, seconds: float) -> ModelRead:
    row: ModelRead = upload(client, "/v1/models", path, ModelRead)
    order = guest.claim(row.id)
    took(guest.service, order, seconds)
    guest.control.finish(order.token, Finish(result=ModelInspected(facts=facts.MODEL)))
    return client.models.get(row.id)


def only(rows: Iterator[StepUse]) -> StepUse:
    (row,) = rows
    return row


def test_a_step_is_metered_from_its_claim_to_its_end(client: Client, guest: Guest, path: Path) -> None:
    model: ModelRead = upload(client, "/v1/models", path, ModelRead)
    query(guest.service, "update steps set queued_at = now() - interval '1 day' where subject_id = %s", model.id)
    order = guest.claim(model.id)
    took(guest.service, order, 30)
    guest.control.finish(order.token, Finish(result=ModelInspected(facts=facts.MODEL)))
    guest.control.finish(order.token, Finish(result=ModelInspected(facts=facts.MODEL)))  # a lost answer
    use = only(client.usage.steps(model.id))
    assert (use.step_id, use.hardware) == (order.step_id, HardwareClass.CPU)
    assert use.seconds == pytest.approx(30, abs=5)
    assert use.price is not None
    assert use.price.amount == pytest.approx(use.seconds * CPU_HOUR / 3600)


def test_a_lost_attempt_is_not_paid_for(client: Client, guest: Guest, path: Path) -> None:
    model: ModelRead = upload(client, "/v1/models", path, ModelRead)
    lost = guest.claim(model.id)
    took(guest.service, lost, 1000)
    query(guest.service, "update steps set lease_until = now() where id = %s", lost.step_id)
    until(lambda: query(guest.service, "select 1 from steps where id = %s and state = 'queued'", lost.step_id))
    again = guest.claim(model.id)
    assert list(client.usage.steps()) == []
    took(guest.service, again, 20)
    guest.control.finish(again.token, Finish(result=ModelInspected(facts=facts.MODEL)))
    assert only(client.usage.steps()).seconds == pytest.approx(20, abs=5)


@pytest.mark.parametrize(("code", "paid"), [(FailureCode.INVALID_MODEL, True), (FailureCode.INTERNAL_ERROR, False)])
def test_who_pays_for_a_failure_depends_on_whose_it_was(
    client: Client, guest: Guest, path: Path, code: FailureCode, *, paid: bool
) -> None:
    model: ModelRead = upload(client, "/v1/models", path, ModelRead)
    query(guest.service, "update steps set max_attempts = 1 where subject_id = %s", model.id)
    guest.control.fail(guest.claim(model.id).token, Fail(failure=Failure(code=code, message="x")))
    assert client.models.get(model.id).failure is not None
    assert len(list(client.usage.steps(model.id))) == paid


def test_days_add_up(client: Client, guest: Guest, path: Path, tmp_path: Path) -> None:
    inspect(guest, client, path, 30)
    path.write_bytes(b"y" * 100)
    inspect(guest, client, path, 60)
    earlier = min(client.usage.steps(), key=lambda use: use.seconds)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    query(guest.service, "update step_usage set finished_at = %s where id = %s", yesterday, earlier.step_id)
    usage = client.usage.get(since=yesterday.date())
    assert [day.day for day in usage.days] == [yesterday.date(), datetime.now(UTC).date()]
    assert [use.seconds for day in usage.days for use in day.work] == pytest.approx([30, 60], abs=5)
    assert usage.days[1].storage_bytes == 500
    (work,) = usage.work
    assert work.price is not None
    assert (work.steps, work.price.currency) == (2, "EUR")
    assert work.price.amount == pytest.approx(work.seconds / 100)
    with client.usage.export(tmp_path / "usage.csv", since=yesterday.date()).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["what"] == "work"]
    assert [row["day"] for row in rows] == [str(day.day) for day in usage.days]
    assert sum(float(row["amount"]) for row in rows) == pytest.approx(work.price.amount)


def test_requests_are_counted(client: Client) -> None:
    for _ in range(20):
        client.me()
    assert until(lambda: client.usage.get().requests >= 20)


def test_days_must_be_in_order(client: Client) -> None:
    today = datetime.now(UTC).date()
    with pytest.raises(Invalid, match="invalid_span"):
        client.usage.get(today, today)
    with pytest.raises(Invalid, match="invalid_span"):
        client.usage.get(today - timedelta(days=500), today)


def test_storage_is_refused_before_it_is_sent(priced: Running, client: Client, guest: Guest, path: Path) -> None:
    put_on(priced, client, "small")
    guest.model(client, path)
    path.write_bytes(b"y" * 700)
    with pytest.raises(QuotaExceeded) as refused:
        client.models.upload(path)
    assert refused.value.problem.quota == QuotaUse(resource=Resource.STORAGE_BYTES, limit=1000, used=400)
    assert "ask the operator" in str(refused.value)
    with pytest.raises(QuotaExceeded):  # in chunks, without saying how much will come
        client.request("POST", "/v1/models", params={"filename": "a.onnx"}, content=iter([b"y" * 700]))
    path.write_bytes(b"y" * 600)
    upload(client, "/v1/models", path, ModelRead)
    assert client.usage.get().quotas[-1].used == 1000


def test_minutes_are_refused_when_a_job_is_ordered(priced: Running, client: Client, guest: Guest, path: Path) -> None:
    put_on(priced, client, "small")
    model = inspect(guest, client, path, 599)
    client.jobs.submit(facts.spec(model.id))
    path.write_bytes(b"y" * 100)
    inspect(guest, client, path, 10)
    for order in (client.jobs.submit, client.jobs.estimate):
        with pytest.raises(QuotaExceeded, match="10 minutes of work on cpu a month") as refused:
            order(facts.spec(model.id))
        assert refused.value.problem.quota is not None
        assert refused.value.problem.quota.hardware is HardwareClass.CPU
    query(priced, "update step_usage set finished_at = finished_at - interval '32 days'")  # a month later
    client.jobs.submit(facts.spec(model.id))


def test_steps_wait_for_their_turn(priced: Running, client: Client, guest: Guest, path: Path) -> None:
    put_on(priced, client, "narrow")
    first: ModelRead = upload(client, "/v1/models", path, ModelRead)
    path.write_bytes(b"y" * 100)
    second: ModelRead = upload(client, "/v1/models", path, ModelRead)
    running = guest.claim(first.id)
    with pytest.raises(Refused, match="plan_is_busy"):
        guest.claim(second.id)
    waiting = query(priced, "select id from steps where subject_id = %s", second.id)[0][0]
    heard = "select count(*) from outbox where args ->> 0 = %s"
    query(priced, "update steps set sent_at = now() + interval '1 day' where id = %s", waiting)  # the sweeper is silent
    until(lambda: query(priced, heard, waiting) == [(0,)])
    query(priced, "create rule keep as on delete to outbox do instead nothing")
    try:
        guest.control.finish(running.token, Finish(result=ModelInspected(facts=facts.MODEL)))
        assert query(priced, heard, waiting) == [(1,)]  # a worker is woken as soon as there is room
    finally:
        query(priced, "drop rule keep on outbox")
    guest.claim(second.id)


def test_a_plan_has_its_own_rate(priced: Running, client: Client) -> None:
    put_on(priced, client, "slow")
    with httpx.Client(base_url=client.url, headers=client._http.headers) as raw:
        answers = [raw.get("/v1/me") for _ in range(8)]  # in two minutes at most
    assert answers[-1].headers["RateLimit-Policy"] == '"requests";q=3;w=60'
    assert 429 in {answer.status_code for answer in answers}


def test_the_budget_tells_once_for_each_share(client: Client, guest: Guest, path: Path) -> None:
    with pytest.raises(NotFound):
        client.usage.budget()
    client.usage.set_budget(Measure.MONEY, 1.0, (0.5, 1.0))

    def told() -> list[float]:
        events = client.webhooks.events()
        return [event.data.share for event in events if isinstance(event.data, BudgetNotice)][::-1]

    expected = {40: [], 15: [0.5], 10: [0.5], 50: [0.5, 1.0]}
    for number, (seconds, shares) in enumerate(expected.items()):
        path.write_bytes(b"z" * (number + 1))
        inspect(guest, client, path, seconds)
        assert told() == shares
    assert client.usage.budget().spent == pytest.approx(1.15, abs=0.1)
    notice = next(event for event in client.webhooks.events() if event.kind is WebhookKind.BUDGET_REACHED)
    assert isinstance(notice.data, BudgetNotice)
    assert notice.data.month == datetime.now(UTC).date().replace(day=1)
    client.usage.remove_budget()
    with pytest.raises(NotFound):
        client.usage.remove_budget()


def test_money_is_no_budget_without_prices(bare: Running) -> None:
    with Client(bare.url, new_tenant(bare)) as client:
        with pytest.raises(Invalid, match="no_prices"):
            client.usage.set_budget(Measure.MONEY, 1.0)
        assert client.usage.set_budget(Measure.MINUTES, 60).spent == 0


def test_a_plan_that_is_not_there_is_refused(priced: Running, client: Client) -> None:
    for tenant, plan, told in ((client.me().tenant_id, "huge", "no plan"), ("ten_x", "small", "no tenant")):
        command = [sys.executable, "-m", "app", "plan", tenant, plan]
        done = subprocess.run(command, env=priced.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert told in done.stderr
