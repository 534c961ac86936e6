"""Files, by content: streamed in with their hash taken on the way, kept once per tenant, served by signed URLs."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from app.core.errors import AppError
from app.core.signing import Signer, Use
from app.core.tenancy import TenantID
from app.settings import local_folder

BATCH = 4 * 2**20  # bytes hashed and written at a time: two of these are all the memory an upload takes
STREAMED = 2**62  # uploads are counted while they stream, so the limit of ordinary bodies is lifted


class UploadTooLarge(AppError):
    """The file is larger than this service takes."""

    code, status = "upload_too_large", 413


class StorageUnavailable(AppError):
    """The file storage cannot be reached right now; nothing was changed."""

    code, status = "storage_unavailable", 503
    hint = "Try again in a moment."


class UnsupportedStorage(ValueError):
    """WHETSTONE_STORAGE_URL must be a file:// address of an absolute folder."""


@dataclass(frozen=True)
class Stored:
    """Bytes that arrived: where they lie now, and what they are."""

    key: str
    sha256: str
    size: int


class Storage:
    """One bucket. Keys begin with the tenant."""

    def __init__(self, url: str, signer: Signer, public_url: str, url_seconds: int) -> None:
        folder = local_folder(url)
        if folder is None or not folder.is_absolute():
            raise UnsupportedStorage(UnsupportedStorage.__doc__)
        self._folder = folder
        self._store = LocalStore(folder, mkdir=True)
        self._signer = signer
        self._public_url = public_url
        self._url_seconds = url_seconds

    async def write(self, key: str, chunks: AsyncIterator[bytes], limit: int) -> Stored:
        """Stream bytes in. Raises UploadTooLarge; what it left behind is for `delete` to remove."""
        digest, size = hashlib.sha256(), 0
        try:
            async with obstore.open_writer_async(self._store, key, buffer_size=BATCH) as writer:
                async for batch in _batches(chunks):
                    size += len(batch)
                    if size > limit:
                        raise UploadTooLarge(f"The file is larger than {limit} bytes.")
                    await asyncio.gather(writer.write(batch), asyncio.to_thread(digest.update, batch))
        except BaseError as error:
            raise StorageUnavailable from error
        return Stored(key, digest.hexdigest(), size)

    async def delete(self, key: str) -> None:
        """Remove an object, whole or half-written (a writer that was cut off leaves `key#1` beside it)."""
        path = self._folder / key
        for found in await asyncio.to_thread(lambda: [path, *path.parent.glob(f"{path.name}#*")]):
            await asyncio.to_thread(found.unlink, missing_ok=True)

    def local_path(self, key: str) -> Path:
        return self._folder / key

    def download_url(self, key: str, filename: str, media_type: str = "application/octet-stream") -> str:
        """A link that reads this one object until it expires."""
        token = self._signer.sign(
            Use.FILE, self._url_seconds, method="GET", key=key, filename=filename, media_type=media_type
        )
        return f"{self._public_url}/v1/files/{token}"

    def upload_url(self, tenant_id: TenantID, sha256: str, size: int) -> str:
        """A link that takes exactly these bytes, nothing else."""
        token = self._signer.sign(
            Use.FILE, self._url_seconds, method="PUT", tenant_id=tenant_id, sha256=sha256, size=size
        )
        return f"{self._public_url}/v1/files/{token}"


async def _batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join small chunks into batches of about BATCH bytes."""
    waiting: list[bytes] = []
    held = 0
    async for chunk in chunks:
        waiting.append(chunk)
        held += len(chunk)
        if held >= BATCH:
            yield b"".join(waiting)
            waiting, held = [], 0
    if waiting:
        yield b"".join(waiting)
