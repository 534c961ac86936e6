"""Send a file straight to the storage, in parts and several at once; what was broken off is gone on with."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from pydantic import TypeAdapter

from whetstone.contract.uploads import PartLink, UploadCreate, UploadParts, UploadRead, UploadState
from whetstone.errors import Unreachable
from whetstone.repeating import repeated
from whetstone.transport import OnBytes

if TYPE_CHECKING:
    from whetstone.client import Client

AT_ONCE = 4
CHUNK = 2**20
TIMEOUT = httpx.Timeout(120, connect=5)


class PartRefused(Unreachable):
    """The storage did not take a part of the file."""


class Transfers:
    """Uploads on their way. `client.models.upload` and `client.datasets.upload` do all of this."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def begin(self, size: int, sha256: str) -> UploadRead:
        """Announce a file; the one that was begun before with the same content, if it was."""
        return self._one("POST", "/v1/uploads", UploadCreate(size=size, sha256=sha256))

    def get(self, upload_id: str) -> UploadRead:
        return self._one("GET", f"/v1/uploads/{upload_id}")

    def list(self) -> Iterator[UploadRead]:
        """Those of which nothing was made yet, newest first."""
        return self._client.pages("/v1/uploads", UploadRead)

    def missing(self, upload_id: str) -> Iterator[PartLink]:
        """Where to send the parts that have not arrived."""
        after: int | None = 0
        while after is not None:
            answer = self._client.request("GET", f"/v1/uploads/{upload_id}/parts", params={"after": str(after)})
            page = UploadParts.model_validate_json(answer.content)
            yield from page.items
            after = page.next_after

    def complete(self, upload_id: str) -> UploadRead:
        """Raises Conflict where parts are missing, Invalid where the bytes are not what was announced."""
        return self._one("POST", f"/v1/uploads/{upload_id}/complete")

    def abort(self, upload_id: str) -> None:
        """Throw away what has arrived."""
        self._client.request("DELETE", f"/v1/uploads/{upload_id}")

    def send(self, path: str | Path, on_bytes: OnBytes | None = None, at_once: int = AT_ONCE) -> UploadRead:
        """Send what the service has not got of a file, `at_once` parts at a time. Raises ApiError, Unreachable."""
        path = Path(path)
        upload = self.begin(path.stat().st_size, _sha256(path))
        if upload.state is UploadState.OPEN:
            missing = tuple(self.missing(upload.id))
            _tell(on_bytes, upload.size - sum(part.size for part in missing))
            self._send_parts(path, missing, on_bytes, at_once)
            return self.complete(upload.id)
        _tell(on_bytes, upload.size)
        return upload

    def _send_parts(self, path: Path, parts: Sequence[PartLink], on_bytes: OnBytes | None, at_once: int) -> None:
        """By a connection that does not show the storage our API key."""
        with httpx.Client(timeout=TIMEOUT) as http, ThreadPoolExecutor(at_once) as pool:
            done = [pool.submit(_send_part, http, path, part) for part in parts]
            try:
                for part, each in zip(parts, done, strict=True):
                    each.result()
                    _tell(on_bytes, part.size)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, method: str, path: str, body: UploadCreate | None = None) -> UploadRead:
        return _UPLOAD.validate_json(self._client.request(method, path, body).content)


_UPLOAD: TypeAdapter[UploadRead] = TypeAdapter(UploadRead)


def _send_part(http: httpx.Client, path: Path, part: PartLink) -> None:
    headers = part.headers | {"Content-Length": str(part.size)}

    def put() -> httpx.Response:
        return http.put(part.url, content=_slice(path, part), headers=headers)

    try:
        answer = repeated(put, "GET")  # sent twice it is the same part
    except httpx.TransportError as error:
        raise Unreachable(f"{part.url.partition('?')[0]} cannot be reached: {error}") from error
    if not answer.is_success:
        raise PartRefused(f"Part {part.number} was answered {answer.status_code}: {answer.text[:300]}")


def _slice(path: Path, part: PartLink) -> Iterator[bytes]:
    left = part.size
    with path.open("rb") as file:
        file.seek(part.offset, os.SEEK_SET)
        while chunk := file.read(min(CHUNK, left)):
            left -= len(chunk)
            yield chunk


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tell(on_bytes: OnBytes | None, count: int) -> None:
    if on_bytes and count:
        on_bytes(count)
