"""How `whet optimize` is told under which loads to measure."""

import pytest
import typer

from whetstone.contract.scenarios import MultiStream, Offline, Server, SingleStream
from whetstone.ordering import scenarios_given


def test_every_kind() -> None:
    given = ["offline", "multi-stream:processes=4", "single_stream:threads=1/2/4", "server:rate=200,latency_ms=20"]
    assert scenarios_given(given) == (
        Offline(),
        MultiStream(processes=4),
        SingleStream(threads=(1, 2, 4)),
        Server(rate=200, latency_ms=20),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("onlne", "onlne"),
        ("server:rate=200", "latency_ms: Field required"),
        ("server:rate=0,latency_ms=1", "greater than 0"),
        ("offline:batch=3", "not permitted"),
        ("single_stream:threads=0", "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(typer.BadParameter, match=told):
        scenarios_given([text])
