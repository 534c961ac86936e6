"""The twin of `whetstone.transport` over httpx.AsyncClient."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from whetstone.contract.jobs import ArtifactRead, JobEvent
from whetstone.contract.pages import Page
from whetstone.repeating import PAUSES, pause_after
from whetstone.sse import Events
from whetstone.transport import (
    CHUNK,
    STREAMING,
    Call,
    Landing,
    OnBytes,
    checked,
    content_of,
    event_headers,
    place_of,
    settings,
    unreachable,
)

RowT = TypeVar("RowT", bound=BaseModel)


class AsyncTransport:
    """For one event loop, and any number of tasks in it."""

    def __init__(self, url: str | None = None, api_key: str | None = None, timeout: float = 60) -> None:
        """`url` and `api_key` default to WHETSTONE_URL and WHETSTONE_API_KEY. Raises NotLoggedIn without a key."""
        given = settings(url, api_key, timeout)
        self.url: str = given["base_url"]
        self._http = httpx.AsyncClient(**given)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def request(self, method: str, path: str, body: BaseModel | None = None, **options: Any) -> httpx.Response:
        """One call, repeated where that is safe and may help: a POST carries an Idempotency-Key. Raises ApiError (by
        status), Unreachable.
        """
        call = Call.of(method, path, body, options)
        try:
            return checked(await self._repeated(call))
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error

    async def _repeated(self, call: Call) -> httpx.Response:
        for pause in PAUSES:
            try:
                answer = await self._send(call)
            except httpx.TransportError as error:
                wait = pause_after(error, call.method, pause)
                if wait is None:
                    raise
            else:
                wait = pause_after(answer, call.method, pause)
                if wait is None:
                    return answer
            await asyncio.sleep(wait)
        return await self._send(call)

    async def _send(self, call: Call) -> httpx.Response:
        return await self._http.request(call.method, call.path, headers=call.headers, **call.options)

    async def pages(self, path: str, kind: type[RowT], /, **params: Any) -> AsyncIterator[RowT]:
        """Every row of a list, page by page."""
        adapter: TypeAdapter[Page[RowT]] = TypeAdapter(Page[kind])  # type: ignore[valid-type] # a value here
        while True:
            answer = await self.request("GET", path, params={"limit": "100"} | params)
            page = adapter.validate_json(answer.content)
            for row in page.items:
                yield row
            if page.next_cursor is None:
                return
            params["cursor"] = page.next_cursor

    async def download(self, artifact: ArtifactRead, path: str | Path, on_bytes: OnBytes | None = None) -> Path:
        """Write an artifact to a file, or under its own name into a folder; its hash is checked.

        The file appears whole or not at all. Raises DamagedDownload.
        """
        return await self.save(content_of(artifact), place_of(artifact, path), on_bytes, artifact.sha256)

    async def save(
        self,
        route: str,
        path: Path,
        on_bytes: OnBytes | None = None,
        sha256: str | None = None,
        params: dict[str, str] | None = None,
    ) -> Path:
        """Write an answer into a file, which appears whole or not at all. Raises DamagedDownload where it has another
        hash than `sha256`.
        """
        with Landing(path, on_bytes) as landing:
            try:
                async with self._http.stream("GET", route, params=params, follow_redirects=True) as answer:
                    if not answer.is_success:
                        await answer.aread()
                        checked(answer)
                    async for chunk in answer.aiter_bytes(CHUNK):
                        await asyncio.to_thread(landing.write, chunk)
            except httpx.TransportError as error:
                raise unreachable(self.url, error) from error
            return landing.keep(sha256)

    async def stream_events(self, job_id: str, after: int) -> AsyncIterator[JobEvent]:
        """Events later than number `after` while the connection lasts. Raises Unreachable when it breaks."""
        events = Events()
        route, headers = f"/v1/jobs/{job_id}/events", event_headers(after)
        try:
            async with self._http.stream("GET", route, headers=headers, timeout=STREAMING) as answer:
                if not answer.is_success:
                    await answer.aread()
                    checked(answer)
                async for line in answer.aiter_lines():
                    if (data := events.take(line)) is not None:
                        yield JobEvent.model_validate_json(data)
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
