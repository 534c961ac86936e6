"""Calls to one service: sent, repeated, checked; files fetched, events heard. `whetstone.aio.transport` is its twin."""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from whetstone.contract.jobs import ArtifactRead, JobEvent
from whetstone.contract.pages import Page
from whetstone.contract.problems import Problem
from whetstone.errors import DamagedDownload, NotLoggedIn, Unreachable, error_of
from whetstone.repeating import repeated
from whetstone.sse import Events

CHUNK = 2**20
ENV_URL = "WHETSTONE_URL"
ENV_KEY = "WHETSTONE_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"
STREAMING = httpx.Timeout(60, connect=5)
"""Of an event stream: the service says something every 15 seconds."""

OnBytes = Callable[[int], None]
RowT = TypeVar("RowT", bound=BaseModel)


@dataclass(frozen=True)
class Call:
    """One call as it is sent, however often."""

    method: str
    path: str
    headers: dict[str, str]
    options: dict[str, Any]

    @classmethod
    def of(cls, method: str, path: str, body: BaseModel | None, options: Mapping[str, Any]) -> "Call":
        """With the body as JSON; a POST carries an Idempotency-Key."""
        left = dict(options)
        headers = dict(left.pop("headers", {}))
        if body is not None:
            left["content"] = body.model_dump_json(exclude_none=True)
            headers["Content-Type"] = "application/json"
        if method == "POST":
            headers.setdefault("Idempotency-Key", str(uuid.uuid4()))
        return cls(method, path, headers, left)


def settings(url: str | None, api_key: str | None, timeout: float) -> dict[str, Any]:
    """What httpx needs to know; `url` and `api_key` default to WHETSTONE_URL and WHETSTONE_API_KEY. Raises NotLoggedIn
    without a key.
    """
    key = api_key or os.environ.get(ENV_KEY)
    if not key:
        raise NotLoggedIn(NotLoggedIn.__doc__)
    return {
        "base_url": (url or os.environ.get(ENV_URL) or DEFAULT_URL).rstrip("/"),
        "headers": {"Authorization": f"Bearer {key}"},
        "timeout": httpx.Timeout(timeout, connect=5),
    }


def event_headers(after: int) -> dict[str, str]:
    return {"Last-Event-ID": str(after), "Accept": "text/event-stream"}


class Transport:
    """Not for several threads at once."""

    def __init__(self, url: str | None = None, api_key: str | None = None, timeout: float = 60) -> None:
        """`url` and `api_key` default to WHETSTONE_URL and WHETSTONE_API_KEY. Raises NotLoggedIn without a key."""
        given = settings(url, api_key, timeout)
        self.url: str = given["base_url"]
        self._http = httpx.Client(**given)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def request(self, method: str, path: str, body: BaseModel | None = None, **options: Any) -> httpx.Response:
        """One call, repeated where that is safe and may help: a POST carries an Idempotency-Key. Raises ApiError (by
        status), Unreachable.
        """
        call = Call.of(method, path, body, options)

        def send() -> httpx.Response:
            return self._http.request(method, path, headers=call.headers, **call.options)

        try:
            return checked(repeated(send, method))
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error

    def pages(self, path: str, kind: type[RowT], /, **params: Any) -> Iterator[RowT]:
        """Every row of a list, page by page."""
        adapter: TypeAdapter[Page[RowT]] = TypeAdapter(Page[kind])  # type: ignore[valid-type] # a value here
        while True:
            page = adapter.validate_json(self.request("GET", path, params={"limit": "100"} | params).content)
            yield from page.items
            if page.next_cursor is None:
                return
            params["cursor"] = page.next_cursor

    def download(self, artifact: ArtifactRead, path: str | Path, on_bytes: OnBytes | None = None) -> Path:
        """Write an artifact to a file, or under its own name into a folder; its hash is checked.

        The file appears whole or not at all. Raises DamagedDownload.
        """
        return self.save(content_of(artifact), place_of(artifact, path), on_bytes, artifact.sha256)

    def save(
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
                with self._http.stream("GET", route, params=params, follow_redirects=True) as answer:
                    if not answer.is_success:
                        answer.read()
                        checked(answer)
                    for chunk in answer.iter_bytes(CHUNK):
                        landing.write(chunk)
            except httpx.TransportError as error:
                raise unreachable(self.url, error) from error
            return landing.keep(sha256)

    def stream_events(self, job_id: str, after: int) -> Iterator[JobEvent]:
        """Events later than number `after` while the connection lasts. Raises Unreachable when it breaks."""
        events = Events()
        route, headers = f"/v1/jobs/{job_id}/events", event_headers(after)
        try:
            with self._http.stream("GET", route, headers=headers, timeout=STREAMING) as answer:
                if not answer.is_success:
                    answer.read()
                    checked(answer)
                for line in answer.iter_lines():
                    if (data := events.take(line)) is not None:
                        yield JobEvent.model_validate_json(data)
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error


class Landing:
    """A file that appears under its name once all of it has arrived, and is gone otherwise."""

    def __init__(self, path: Path, on_bytes: OnBytes | None) -> None:
        self._path, self._on_bytes = path, on_bytes
        self._part = path.with_name(path.name + ".part")
        self._file = self._part.open("wb")
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._file.write(chunk)
        if self._on_bytes:
            self._on_bytes(len(chunk))

    def keep(self, sha256: str | None) -> Path:
        """Raises DamagedDownload where the bytes have another hash."""
        if sha256 is not None and self._digest.hexdigest() != sha256:
            raise DamagedDownload(f"{self._path.name} arrived with another hash than announced.")
        self._file.close()
        return self._part.replace(self._path)


def content_of(artifact: ArtifactRead) -> str:
    return f"/v1/artifacts/{artifact.id}/content"


def place_of(artifact: ArtifactRead, path: str | Path) -> Path:
    """A folder's file of the artifact's own name, or the path itself."""
    path = Path(path)
    return path / artifact.name if path.is_dir() else path


def unreachable(url: str, error: httpx.TransportError) -> Unreachable:
    return Unreachable(f"{url} cannot be reached: {error}")


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is good. Raises ApiError."""
    if answer.is_success:
        return answer
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:  # something between us and the service answered
        problem = Problem(
            title=answer.reason_phrase, status=answer.status_code, code="http_error", detail=answer.text[:300]
        )
    raise error_of(problem)
