"""Whether a storage does what the service needs of it: for `python -m app check-storage`."""

import hashlib
from collections.abc import AsyncIterator

import httpx

from app.core.ids import Prefix, new_id
from app.core.storage import Storage, Transfer
from app.core.storage_s3 import S3Storage

_CONTENT = b"Is this storage of use?"


async def examine(storage: Storage) -> AsyncIterator[tuple[str, bool]]:
    """What was tried, and whether it went well. Raises StorageUnavailable."""
    key = f"check/{new_id(Prefix.UPLOAD)}"
    await storage.check()
    yield "it answers", True
    try:
        stored = await storage.write(key, _once(_CONTENT), len(_CONTENT))
        yield "what is written can be read", await storage.digest(key) == stored.sha256
    finally:
        await storage.delete(key)
    yield "what is deleted is gone", [found async for found in storage.keys("check/")] == []
    if isinstance(storage, S3Storage):
        async for found in _examine_links(storage):
            yield found


async def _examine_links(storage: S3Storage) -> AsyncIterator[tuple[str, bool]]:
    """From here, which may not be where clients and workers are."""
    key = f"check/{new_id(Prefix.UPLOAD)}"
    transfer = Transfer(key, hashlib.sha256(_CONTENT).hexdigest(), len(_CONTENT), len(_CONTENT))
    link = storage.link(transfer, 1)
    async with httpx.AsyncClient(timeout=30) as http:
        try:
            other = await http.put(link.url, content=_CONTENT[::-1], headers=link.headers)
            yield "a link refuses other bytes than were announced", other.is_client_error
            sent = await http.put(link.url, content=_CONTENT, headers=link.headers)
            yield "a link takes a file", sent.is_success
            proven = sent.is_success and (await storage.finish(transfer)).proven
            yield "the server checks hashes (without it, the service reads workers' files once more)", proven
            part = await http.get(storage.download_url(key, "x"), headers={"Range": "bytes=0-1"})
            yield "a link gives a part of a file", part.content == _CONTENT[:2]
        finally:
            await storage.delete(key)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
