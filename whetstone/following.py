"""Following a job: its events as they come, and its end even where event streams do not come through."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from whetstone.contract.jobs import EventKind, JobEvent, JobRead
from whetstone.errors import ServerError, Unreachable

if TYPE_CHECKING:
    from whetstone.client import Client

RECONNECT_SECONDS = 1.0
POLL_SECONDS = 2.0
POLLS = 30
"""How often the service is asked before a stream is tried again."""

SILENCE_SECONDS = 20.0
"""After which a stream that told nothing was held back: the service says something every 15 seconds."""

PATIENCE_SECONDS = 300.0

OnEvent = Callable[[JobEvent], None]


class Following:
    """Over lost connections, restarts of the service, and proxies that hold streams back."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def events(self, job_id: str, after: int = 0) -> Iterator[JobEvent]:
        """Every event until the job has finished. Raises Unreachable when nothing was heard of the service for
        `PATIENCE_SECONDS`.
        """
        heard, finished = time.monotonic(), False
        while not finished:
            try:
                for event in self._client.stream_events(job_id, after):
                    after, heard = event.seq, time.monotonic()
                    finished = event.kind is EventKind.JOB_FINISHED
                    yield event
            except (Unreachable, ServerError):
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise
            if not finished:
                time.sleep(RECONNECT_SECONDS)

    def until_final(self, job_id: str, on_event: OnEvent | None = None) -> None:
        """Return once the job has ended: by its events, and by asking where a stream breaks before that. Raises
        Unreachable as `events` does.
        """
        after = 0
        while True:
            before, began = after, time.monotonic()
            try:
                for event in self._client.stream_events(job_id, after):
                    after = event.seq
                    if on_event:
                        on_event(event)
            except (Unreachable, ServerError):
                pass  # asking tells whether the service is there
            held_back = after == before and time.monotonic() - began > SILENCE_SECONDS
            if self._has_ended(job_id, asked=POLLS if held_back else 1):
                return

    def _has_ended(self, job_id: str, asked: int) -> bool:
        """Ask so many times, unless the job has ended before. Raises Unreachable, ServerError after some patience."""
        heard = time.monotonic()
        while asked:
            try:
                if self._state(job_id).state.is_final:
                    return True
                asked, heard = asked - 1, time.monotonic()
            except (Unreachable, ServerError):
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise
            time.sleep(POLL_SECONDS if asked else RECONNECT_SECONDS)
        return False

    def _state(self, job_id: str) -> JobRead:
        return JobRead.model_validate_json(self._client.request("GET", f"/v1/jobs/{job_id}").content)
