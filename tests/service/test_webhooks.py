"""Webhooks on the way: signed, sent again, given up, switched off, never sent where they must not go."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks

from app.embedded import service as embedded
from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, until
from tests.service.conftest import QUICK, data_folder
from tests.service.receiver import GOOD, Answer, Received, Receiver, receiving
from whetstone.client import Client
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.steps import Fail
from whetstone.contract.webhooks import DeliveryRead, DeliveryState, WebhookChange, WebhookKind, WebhookMessage
from whetstone.errors import ChangedMeanwhile, Conflict, Invalid, NotFound

BAD: Answer = (500, {}, b"out of order")
OPEN = {
    "WHETSTONE_WEBHOOKS__ALLOW_HTTP": "true",
    "WHETSTONE_WEBHOOKS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
    "WHETSTONE_WEBHOOKS__RETRY_SECONDS": "[0.1, 0.1, 0.1]",
    "WHETSTONE_WEBHOOKS__TIMEOUT_SECONDS": "2",
}


@pytest.fixture(scope="module")
def hooked() -> Iterator[Running]:
    """A service whose operator allows webhooks to this machine, and retries soon."""
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, worker=False, **QUICK, **OPEN) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def caller(hooked: Running) -> Iterator[Client]:
    with Client(hooked.url, new_tenant(hooked)) as client:
        yield client


@pytest.fixture
def hand(hooked: Running) -> Iterator[Guest]:
    with Guest(hooked) as guest:
        yield guest


def ended(client: Client, delivery: DeliveryRead) -> DeliveryRead:
    def look() -> DeliveryRead | None:
        row = client.webhooks.delivery(delivery.id)
        return row if row.state is not DeliveryState.PENDING else None

    found = until(look)
    assert isinstance(found, DeliveryRead)
    return found


def test_a_finished_job_is_told_signed(caller: Client, hand: Guest, receiver: Receiver, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    everything = caller.webhooks.create(receiver.url + "/all", description="everything")
    caller.webhooks.create(receiver.url + "/failed", events=(WebhookKind.JOB_FAILED,))
    caller.webhooks.create(receiver.url + "/none", events=(WebhookKind.DATASET_READY,))
    model = hand.model(caller, path)
    job = caller.jobs.submit(facts.spec(model.id))
    failure = Failure(code=FailureCode.OUT_OF_MEMORY, message="It was too much.")
    hand.control.fail(hand.claim(job.id).token, Fail(failure=failure))
    until(lambda: len(receiver.at("/all")) == 2 and receiver.at("/failed"))
    told = {json.loads(got.body)["type"]: got for got in receiver.at("/all")}
    assert set(told) == {"model.ready", "job.failed"}
    got = told["job.failed"]
    for library in (standardwebhooks, svix.webhooks):
        library.Webhook(everything.secret).verify(got.body, got.headers)  # type: ignore[attr-defined]
    message = WebhookMessage.model_validate_json(got.body)
    assert message.data.model_dump(include={"job_id", "state"}) == {"job_id": job.id, "state": "failed"}
    assert "It was too much." in str(message.data)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(everything.secret).verify(got.body + b" ", got.headers)
    assert receiver.at("/failed")[0].headers["webhook-id"] == got.headers["webhook-id"]
    assert [event.kind for event in caller.webhooks.events()] == [WebhookKind.JOB_FAILED, WebhookKind.MODEL_READY]
    assert next(iter(caller.webhooks.events())).id == got.headers["webhook-id"]
    assert not receiver.at("/none")


def test_what_failed_is_sent_again(caller: Client, receiver: Receiver) -> None:
    receiver.script = [BAD, (503, {}, b"\0busy"), GOOD]
    row = caller.webhooks.create(receiver.url)
    done = ended(caller, caller.webhooks.test(row.id))
    assert done.state is DeliveryState.SUCCEEDED
    assert [attempt.status for attempt in done.attempts] == [500, 503, 200]
    assert [attempt.answer for attempt in done.attempts] == ["out of order", "\N{REPLACEMENT CHARACTER}busy", "thanks"]
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    assert len({got.body for got in receiver.got}) == 1
    assert caller.webhooks.get(row.id).failing_since is None


def test_a_delivery_is_given_up_and_can_be_sent_by_hand(caller: Client, receiver: Receiver) -> None:
    receiver.script = [BAD] * 4
    row = caller.webhooks.create(receiver.url)
    failed = ended(caller, caller.webhooks.test(row.id))
    assert failed.state is DeliveryState.FAILED
    assert len(failed.attempts) == 4
    assert failed.next_attempt_at is None
    assert caller.webhooks.get(row.id).failing_since == failed.attempts[0].at
    again = ended(caller, caller.webhooks.redeliver(failed.id))
    assert (again.state, again.event_id) == (DeliveryState.SUCCEEDED, failed.event_id)
    assert [delivery.id for delivery in caller.webhooks.deliveries(row.id)] == [again.id, failed.id]
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1


def test_a_receiver_that_is_gone_is_switched_off_with_notice(caller: Client, receiver: Receiver) -> None:
    def decide(got: Received) -> Answer:
        return (410, {}, b"") if got.path == "/gone" else GOOD

    receiver.decide = decide
    gone, other = caller.webhooks.create(receiver.url + "/gone"), caller.webhooks.create(receiver.url + "/other")
    caller.webhooks.test(gone.id)
    notice = json.loads(until(lambda: receiver.at("/other"))[0].body)
    assert notice["type"] == "webhook.disabled"
    assert notice["data"]["webhook_id"] == gone.id
    now = caller.webhooks.get(gone.id)
    assert not now.enabled
    assert now.disabled_reason == "the receiver answered 410 Gone"
    with pytest.raises(Conflict) as refused:
        caller.webhooks.test(gone.id)
    assert refused.value.code == "webhook_disabled"
    assert caller.webhooks.get(other.id).enabled
    receiver.decide = lambda _: GOOD
    assert caller.webhooks.change(gone.id, WebhookChange(enabled=True)).disabled_reason is None
    assert ended(caller, caller.webhooks.test(gone.id)).state is DeliveryState.SUCCEEDED


def test_after_days_of_failure_it_is_switched_off(caller: Client, hooked: Running, receiver: Receiver) -> None:
    receiver.decide = lambda _: BAD
    row = caller.webhooks.create(receiver.url)
    for hours, enabled in ((71, True), (73, False)):
        query(hooked, "update webhooks set failing_since = now() - %s * interval '1 hour' where id = %s", hours, row.id)
        delivery = ended(caller, caller.webhooks.test(row.id))
        assert delivery.state is DeliveryState.FAILED
        assert caller.webhooks.get(row.id).enabled is enabled
    assert len(delivery.attempts) == 1  # nothing more is sent once it is off
    assert caller.webhooks.get(row.id).disabled_reason == "nothing was received for 72 hours"


def test_both_secrets_sign_while_one_replaces_the_other(caller: Client, hooked: Running, receiver: Receiver) -> None:
    row = caller.webhooks.create(receiver.url)
    made = caller.webhooks.rotate_secret(row.id, overlap_hours=1)
    ended(caller, caller.webhooks.test(row.id))
    for secret in (row.secret, made.secret):
        standardwebhooks.Webhook(secret).verify(receiver.got[0].body, receiver.got[0].headers)
    last = caller.webhooks.rotate_secret(row.id, overlap_hours=0)
    ended(caller, caller.webhooks.test(row.id))
    for secret in (row.secret, last.secret):  # the first one was promised an hour
        standardwebhooks.Webhook(secret).verify(receiver.got[1].body, receiver.got[1].headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(made.secret).verify(receiver.got[1].body, receiver.got[1].headers)
    stored = str(query(hooked, "select secrets from webhooks where id = %s", row.id))
    assert not any(secret.removeprefix("whsec_") in stored for secret in (row.secret, made.secret, last.secret))
    assert "secret" not in caller.webhooks.get(row.id).model_dump()


def test_redirects_are_not_followed(caller: Client, receiver: Receiver) -> None:
    receiver.script = [(302, {"Location": f"{receiver.url}/elsewhere"}, b"")] * 4
    row = caller.webhooks.create(receiver.url + "/here")
    done = ended(caller, caller.webhooks.test(row.id))
    assert {attempt.status for attempt in done.attempts} == {302}
    assert not receiver.at("/elsewhere")


def test_a_receiver_that_says_when_is_left_alone_till_then(caller: Client, receiver: Receiver) -> None:
    receiver.script = [(429, {"Retry-After": "600"}, b"")]
    delivery = caller.webhooks.test(caller.webhooks.create(receiver.url).id)
    now = until(lambda: caller.webhooks.delivery(delivery.id).attempts and caller.webhooks.delivery(delivery.id))
    assert now.state is DeliveryState.PENDING
    assert (now.next_attempt_at - now.attempts[0].at).total_seconds() >= 600


def test_a_slow_receiver_does_not_hold_up_the_others(caller: Client, receiver: Receiver) -> None:
    free = threading.Event()

    def decide(got: Received) -> Answer:
        if got.path == "/slow":
            free.wait(30)
        return GOOD

    receiver.decide = decide
    slow, quick = caller.webhooks.create(receiver.url + "/slow"), caller.webhooks.create(receiver.url + "/quick")
    try:
        for _ in range(60):  # more than are sent at once
            caller.webhooks.test(slow.id)
        ended(caller, caller.webhooks.test(quick.id))
        assert len(receiver.at("/slow")) < 60
    finally:
        free.set()
        caller.webhooks.delete(slow.id)


def test_a_killed_sender_loses_nothing(caller: Client, hooked: Running, receiver: Receiver) -> None:
    control = next(process for process in hooked.processes if process.name == "control")
    free = threading.Event()

    def decide(_: Received) -> Answer:
        free.wait(30)
        return GOOD

    receiver.decide = decide
    row = caller.webhooks.create(receiver.url)
    first = caller.webhooks.test(row.id)
    until(lambda: receiver.got)
    os.kill(control.pid, signal.SIGKILL)
    until(lambda: control.exit_code() is not None)
    second = caller.webhooks.test(row.id)
    free.set()
    query(hooked, "update deliveries set due_at = now() where id = %s and due_at > now()", first.id)  # the lease ends
    control.start()
    assert ended(caller, first).attempts[-1].number == 2
    assert ended(caller, second).state is DeliveryState.SUCCEEDED
    assert len(receiver.got) == 3


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://127.0.0.1/hook",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://168.63.129.16/",
        "https://[::1]/",
        "https://[::ffff:192.168.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://localhost:8443/",
        "https://metadata/",
        "https://user:password@example.com/",
    ],
)
def test_where_webhooks_may_not_lead(client: Client, url: str) -> None:
    with pytest.raises(Invalid) as refused:
        client.webhooks.create(url)
    assert refused.value.code == "forbidden_url"
    row = client.webhooks.create("https://example.com/hook")
    with pytest.raises(Invalid):
        client.webhooks.change(row.id, WebhookChange(url=url))
    assert client.webhooks.get(row.id).url == "https://example.com/hook"


def test_a_name_that_leads_inside_is_found_out_when_connecting(
    client: Client, bare: Running, receiver: Receiver
) -> None:
    row = client.webhooks.create("https://example.com/hook")
    port = receiver.url.rpartition(":")[2]
    query(bare, "update webhooks set url = %s where id = %s", f"http://localhost:{port}/", row.id)
    delivery = client.webhooks.test(row.id)
    now = until(lambda: client.webhooks.delivery(delivery.id).attempts)
    assert now[0].status is None
    assert now[0].error == "The address is not public, and the operator does not allow it."
    assert not receiver.got
    client.webhooks.delete(row.id)


def test_the_list_of_webhooks(client: Client, bare: Running) -> None:
    row = client.webhooks.create("https://example.com/a", events=(WebhookKind.JOB_FAILED,))
    assert [found.id for found in client.webhooks.list()] == [row.id]
    changed = client.webhooks.change(row.id, WebhookChange(events=(), description="all"))
    assert (changed.events, changed.description, changed.url) == ((), "all", row.url)
    for path, method in ((f"/v1/webhooks/{row.id}", "PATCH"), (f"/v1/webhooks/{row.id}", "DELETE")):
        body = {"json": {"description": "x"}} if method == "PATCH" else {}
        with pytest.raises(ChangedMeanwhile):
            client.request(method, path, headers={"If-Match": '"old"'}, **body)
    with Client(bare.url, new_tenant(bare)) as stranger:
        assert list(stranger.webhooks.list()) == []
        for attempt in (stranger.webhooks.get, stranger.webhooks.test, stranger.webhooks.delete):
            with pytest.raises(NotFound):
                attempt(row.id)
    tag = client.request("GET", f"/v1/webhooks/{row.id}").headers["etag"]
    client.request("DELETE", f"/v1/webhooks/{row.id}", headers={"If-Match": tag})
    assert list(client.webhooks.list()) == []


def test_the_commands(caller: Client, hooked: Running, receiver: Receiver) -> None:
    key = caller._http.headers["authorization"].removeprefix("Bearer ")

    def whet(*words: str) -> Any:
        command = [sys.executable, "-m", "whetstone.cli", "webhooks", *words, "--json"]
        variables = os.environ | {"WHETSTONE_URL": hooked.url, "WHETSTONE_API_KEY": key}
        return json.loads(subprocess.run(command, env=variables, capture_output=True, check=True).stdout)

    made = whet("create", receiver.url, "--event", "webhook.test")
    delivery = ended(caller, caller.webhooks.delivery(whet("test", made["id"])["id"]))
    standardwebhooks.Webhook(made["secret"]).verify(receiver.got[0].body, receiver.got[0].headers)
    assert whet("delivery", delivery.id)["attempts"][0]["answer"] == "thanks"
    assert [row["id"] for row in whet("deliveries", made["id"])] == [delivery.id]
    assert whet("disable", made["id"])["enabled"] is False
    assert whet("list")[0]["disabled_reason"] == "switched off by a user"
