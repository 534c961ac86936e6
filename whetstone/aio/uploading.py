"""Written by `python -m scripts.async_client` from whetstone/uploading.py: change that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from whetstone.contract.uploads import PartLink, UploadCreate, UploadParts, UploadRead, UploadState
from whetstone.transport import OnBytes
from whetstone.uploading import _UPLOAD, AT_ONCE, TIMEOUT, _send_part, _sha256, _tell

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient


class Transfers:
    """Uploads on their way. `client.models.upload` and `client.datasets.upload` do all of this."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def begin(self, size: int, sha256: str) -> UploadRead:
        """Announce a file; the one that was begun before with the same content, if it was."""
        return await self._one("POST", "/v1/uploads", UploadCreate(size=size, sha256=sha256))

    async def get(self, upload_id: str) -> UploadRead:
        return await self._one("GET", f"/v1/uploads/{upload_id}")

    def list(self) -> AsyncIterator[UploadRead]:
        """Those of which nothing was made yet, newest first."""
        return self._client.pages("/v1/uploads", UploadRead)

    async def missing(self, upload_id: str) -> AsyncIterator[PartLink]:
        """Where to send the parts that have not arrived."""
        after: int | None = 0
        while after is not None:
            answer = await self._client.request("GET", f"/v1/uploads/{upload_id}/parts", params={"after": str(after)})
            page = UploadParts.model_validate_json(answer.content)
            for each in page.items:
                yield each
            after = page.next_after

    async def complete(self, upload_id: str) -> UploadRead:
        """Raises Conflict where parts are missing, Invalid where the bytes are not what was announced."""
        return await self._one("POST", f"/v1/uploads/{upload_id}/complete")

    async def abort(self, upload_id: str) -> None:
        """Throw away what has arrived."""
        await self._client.request("DELETE", f"/v1/uploads/{upload_id}")

    async def send(self, path: str | Path, on_bytes: OnBytes | None = None, at_once: int = AT_ONCE) -> UploadRead:
        """Send what the service has not got of a file, `at_once` parts at a time. Raises ApiError, Unreachable."""
        path = Path(path)
        upload = await self.begin(path.stat().st_size, await asyncio.to_thread(_sha256, path))
        if upload.state is UploadState.OPEN:
            missing = tuple([each async for each in self.missing(upload.id)])
            _tell(on_bytes, upload.size - sum(part.size for part in missing))
            await asyncio.to_thread(self._send_parts, path, missing, on_bytes, at_once)
            return await self.complete(upload.id)
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

    async def _one(self, method: str, path: str, body: UploadCreate | None = None) -> UploadRead:
        return _UPLOAD.validate_json((await self._client.request(method, path, body)).content)
