"""Where a webhook may lead, and that what was checked is what is connected to."""

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.settings import WebhookSettings
from app.webhooks.network import Guard
from app.webhooks.sender import Outcome, Parcel, Sender, signed_headers
from app.webhooks.tasks import _JITTER, _delay

PARCEL = Parcel(
    delivery_id="dlv",
    webhook_id="whk",
    tenant_id="ten",
    number=1,
    url="http://rebind.example:{port}/",
    secrets=("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",),
    event_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
    body=b'{"test": 2432232314}',
)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - nothing is bound to it
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
    ],
)
def test_no_public_address(address: str) -> None:
    assert not Guard().permits(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_a_public_address(address: str) -> None:
    assert Guard().permits(ipaddress.ip_address(address))


def test_what_the_operator_allows() -> None:
    guard = Guard([ipaddress.ip_network("10.1.0.0/16")])
    assert guard.permits(ipaddress.ip_address("10.1.2.3"))
    assert not guard.permits(ipaddress.ip_address("10.2.2.3"))


@pytest.fixture
def inside() -> Iterator[socket.socket]:
    """Something that listens on this machine and must hear nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0)
        yield listener


async def test_a_name_is_looked_up_once_and_rebinding_reaches_nothing(inside: socket.socket) -> None:
    answers = [["93.184.215.14"], ["127.0.0.1"], ["127.0.0.1", "10.0.0.1"]]
    asked = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return answers[len(asked) - 1]

    port = inside.getsockname()[1]
    parcel = replace(PARCEL, url=PARCEL.url.format(port=port))
    sender = Sender(Guard(), 0.5, rebinding)
    outcomes = [await sender.send(parcel) for _ in answers]
    await sender.close()
    assert [outcome.status for outcome in outcomes] == [None] * 3
    assert asked == [("rebind.example", port)] * 3  # once an attempt: nothing is asked again after the check
    assert "not public" not in str(outcomes[0].error)
    assert all("not public" in str(outcome.error) for outcome in outcomes[1:])
    with pytest.raises(BlockingIOError):
        inside.accept()


async def test_the_permitted_address_of_several_is_taken(inside: socket.socket) -> None:
    async def both(host: str, port: int) -> list[str]:  # noqa: ARG001 - the signature of a resolver
        return ["10.255.255.1", "127.0.0.1"]

    parcel = replace(PARCEL, url=PARCEL.url.format(port=inside.getsockname()[1]))
    sender = Sender(Guard([ipaddress.ip_network("127.0.0.1/32")]), 0.3, both)
    outcome = await sender.send(parcel)
    await sender.close()
    assert outcome.error == "no answer within 0.3 seconds"
    arrived, _ = inside.accept()
    arrived.close()


def test_the_signature_of_the_specification() -> None:
    """The example of the Standard Webhooks specification."""
    headers = signed_headers(PARCEL, datetime.fromtimestamp(1614265330, UTC))
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_retries_are_spread_over_a_day() -> None:
    settings = WebhookSettings()
    outcome = Outcome(datetime.now(UTC), 1.0, status=500)
    planned = settings.retry_seconds
    assert 22 * 3600 < sum(planned) < 26 * 3600
    assert list(planned) == sorted(planned)
    for attempt, seconds in enumerate(planned, start=1):
        delays = {_delay(settings, attempt, outcome) for _ in range(20)}
        assert len(delays) > 1
        assert all(seconds * (1 - _JITTER) <= delay <= seconds * (1 + _JITTER) for delay in delays)
