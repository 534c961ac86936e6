"""Waiting for a job through what lies between: streams that break, are refused, or are held back."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from whetstone import following, transport
from whetstone.aio.client import AsyncClient
from whetstone.aio.following import Following as AsyncFollowing
from whetstone.client import Client
from whetstone.contract.jobs import EventKind, JobEvent
from whetstone.errors import Unreachable
from whetstone.following import Following

JOB = "job_01h455vb4pex5vsknk084sn02q"
MODEL = "mdl_01h455vb4pex5vsknk084sn02q"
AT = "2026-01-01T00:00:00Z"
Streams = Callable[["Handler", int], None]


def event(seq: int, kind: EventKind = EventKind.STEP_PROGRESS) -> bytes:
    told = JobEvent.model_validate({"seq": seq, "kind": kind, "at": AT})
    return b"data: " + told.model_dump_json().encode() + b"\n\n"


class Handler(BaseHTTPRequestHandler):
    """A job that is done once it has been asked after three times; its streams are as `streams` says."""

    streams: Streams
    asked = 0
    streamed = 0

    def do_GET(self) -> None:
        kind = type(self)
        if self.path.endswith("/events"):
            kind.streamed += 1
            kind.streams(self, kind.streamed)
            return
        kind.asked += 1
        self.answer(200, job("succeeded" if kind.asked >= 3 else "running"))

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def stream(self, *parts: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        for part in parts:
            self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        pass


def job(state: str) -> dict[str, Any]:
    return {
        "id": JOB, "name": "x", "spec": {"model_id": MODEL}, "state": state, "steps": [], "verdict": None,
        "failure": None, "finishing": False, "created_at": AT, "started_at": AT, "finished_at": AT,
    }  # fmt: skip


@contextmanager
def service(streams: Streams) -> Iterator[tuple[str, type[Handler]]]:
    handler = type("Served", (Handler,), {"streams": staticmethod(streams), "asked": 0, "streamed": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()


def refused(handler: Handler, _: int) -> None:
    handler.answer(500, {})


def broken(handler: Handler, number: int) -> None:
    """Each stream tells one event more, then breaks."""
    handler.stream(event(number), b"data: {")


def whole(handler: Handler, _: int) -> None:
    handler.stream(event(1), b": ping\n\n", event(2, EventKind.JOB_FINISHED))
    type(handler).asked = 2


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "RECONNECT_SECONDS", 0.01)
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    for name in ("RECONNECT_SECONDS", "POLL_SECONDS"):
        monkeypatch.setattr(f"whetstone.aio.following.{name}", 0.01)


@pytest.mark.parametrize(("streams", "events"), [(refused, 0), (broken, 3), (whole, 2)])
async def test_a_job_that_ends_is_heard_of(streams: Streams, events: int) -> None:
    for wait in (_wait, _wait_async):
        with service(streams) as (url, served):
            told = await wait(url)
        assert [each.seq for each in told] == list(range(1, events + 1))
        assert served.asked == 3


async def _wait(url: str) -> list[JobEvent]:
    told: list[JobEvent] = []
    with Client(url, "key") as client:
        Following(client).until_final(JOB, told.append)
    return told


async def _wait_async(url: str) -> list[JobEvent]:
    told: list[JobEvent] = []
    async with AsyncClient(url, "key") as client:
        await AsyncFollowing(client).until_final(JOB, told.append)
    return told


def test_a_stream_that_is_held_back_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENCE_SECONDS", 0)
    with service(refused) as (url, served), Client(url, "key") as client:
        Following(client).until_final(JOB)
    assert (served.streamed, served.asked) == (1, 3)


def test_a_service_that_is_gone_is_told_after_some_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr("whetstone.repeating.PAUSES", ())
    with Client("http://127.0.0.1:9", "key") as client, pytest.raises(Unreachable):
        Following(client).until_final(JOB)
    assert transport.STREAMING.read is not None
