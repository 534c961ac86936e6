"""Written by `python -m scripts.async_client` from whetstone/following.py: change that."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from whetstone.contract.jobs import EventKind, JobEvent, JobRead
from whetstone.errors import ServerError, Unreachable
from whetstone.following import PATIENCE_SECONDS, POLL_SECONDS, POLLS, RECONNECT_SECONDS, SILENCE_SECONDS, OnEvent

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Following:
    """Over lost connections, restarts of the service, and proxies that hold streams back."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def events(self, job_id: str, after: int = 0) -> AsyncIterator[JobEvent]:
        """Every event until the job has finished. Raises Unreachable when nothing was heard of the service for
        `PATIENCE_SECONDS`.
        """
        heard, finished = (time.monotonic(), False)
        while not finished:
            try:
                async for event in self._client.stream_events(job_id, after):
                    after, heard = (event.seq, time.monotonic())
                    finished = event.kind is EventKind.JOB_FINISHED
                    yield event
            except (Unreachable, ServerError):
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise
            if not finished:
                await asyncio.sleep(RECONNECT_SECONDS)

    async def until_final(self, job_id: str, on_event: OnEvent | None = None) -> None:
        """Return once the job has ended: by its events, and by asking where a stream breaks before that. Raises
        Unreachable as `events` does.
        """
        after = 0
        while True:
            before, began = (after, time.monotonic())
            try:
                async for event in self._client.stream_events(job_id, after):
                    after = event.seq
                    if on_event:
                        on_event(event)
            except (Unreachable, ServerError):
                pass
            held_back = after == before and time.monotonic() - began > SILENCE_SECONDS
            if await self._has_ended(job_id, asked=POLLS if held_back else 1):
                return

    async def _has_ended(self, job_id: str, asked: int) -> bool:
        """Ask so many times, unless the job has ended before. Raises Unreachable, ServerError after some patience."""
        heard = time.monotonic()
        while asked:
            try:
                if (await self._state(job_id)).state.is_final:
                    return True
                asked, heard = (asked - 1, time.monotonic())
            except (Unreachable, ServerError):
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise
            await asyncio.sleep(POLL_SECONDS if asked else RECONNECT_SECONDS)
        return False

    async def _state(self, job_id: str) -> JobRead:
        return JobRead.model_validate_json((await self._client.request("GET", f"/v1/jobs/{job_id}")).content)
