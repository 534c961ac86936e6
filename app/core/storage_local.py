"""A folder as the storage. Its signed links lead back to the API, which writes and reads the files itself."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import obstore
from fastapi.responses import FileResponse, Response
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from app.core.errors import AppError
from app.core.signing import Signer, Use
from app.core.storage import (
    BATCH,
    HEAD,
    PartsMissing,
    Storage,
    StorageUnavailable,
    Stored,
    Transfer,
    UploadTooLarge,
    WrongContent,
    batches,
    disposition,
)
from whetstone.contract.uploads import PartLink

_TOGETHER = "together"
"""While a file's parts arrive it is called `key#together`; `key#part-7` says that the seventh is there."""


class ObjectGone(AppError):
    """The file behind this link no longer exists."""

    code, status = "file_gone", 404


class LocalStorage(Storage):
    """Everything of a file that is not whole has a name that begins with its key and `#`."""

    single = 5 * 2**30

    def __init__(self, folder: Path, signer: Signer, public_url: str, url_seconds: int) -> None:
        self._folder = folder
        self._store = LocalStore(folder, mkdir=True)
        self._signer = signer
        self._public_url = public_url
        self._url_seconds = url_seconds

    async def write(self, key: str, chunks: AsyncIterator[bytes], limit: int) -> Stored:
        digest, size = hashlib.sha256(), 0
        try:
            async with obstore.open_writer_async(self._store, key, buffer_size=BATCH) as writer:
                async for batch in batches(chunks):
                    size += len(batch)
                    if size > limit:
                        raise UploadTooLarge(f"The file is larger than {limit} bytes.")
                    await asyncio.gather(writer.write(batch), asyncio.to_thread(digest.update, batch))
        except BaseError as error:
            raise StorageUnavailable from error
        return Stored(key, digest.hexdigest(), size)

    async def delete(self, key: str) -> None:
        for found in await asyncio.to_thread(lambda: [self._path(key), *self._pieces(key, "*")]):
            await asyncio.to_thread(found.unlink, missing_ok=True)

    async def head(self, key: str) -> bytes:
        def read() -> bytes:
            with self._path(key).open("rb") as file:
                return file.read(HEAD)

        return await asyncio.to_thread(read)

    async def whole(self, key: str) -> bytes:
        return await asyncio.to_thread(self._path(key).read_bytes)

    async def digest(self, key: str) -> str:
        def read() -> str:
            with self._path(key).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        return await asyncio.to_thread(read)

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        for path in await asyncio.to_thread(lambda: sorted(self._path(prefix).rglob("*"))):
            if path.is_file():
                yield str(path.relative_to(self._folder))

    async def begin(self, transfer: Transfer) -> Transfer:
        return transfer

    def link(self, transfer: Transfer, number: int) -> PartLink:
        claims = {"key": transfer.key, "size": transfer.length(number)}
        if transfer.parts == 1:
            claims["sha256"] = transfer.sha256
        else:
            claims |= {"number": number, "offset": transfer.offset(number)}
        return PartLink(
            number=number,
            offset=transfer.offset(number),
            size=transfer.length(number),
            url=self._url(method="PUT", **claims),
        )

    async def take(self, claims: dict[str, Any], chunks: AsyncIterator[bytes]) -> None:
        """Write what came by a link. Raises WrongContent, UploadTooLarge."""
        if "number" in claims:
            await self._take_part(claims, chunks)
            return
        stored = await self.write(claims["key"], chunks, claims["size"])
        if (stored.sha256, stored.size) != (claims["sha256"], claims["size"]):
            await self.delete(stored.key)
            raise WrongContent

    async def _take_part(self, claims: dict[str, Any], chunks: AsyncIterator[bytes]) -> None:
        """Into its place in the whole, so that putting together costs nothing."""
        if self._path(claims["key"]).exists():
            raise WrongContent("The file is complete already.")
        done = self._piece(claims["key"], f"part-{claims['number']}")
        await asyncio.to_thread(done.unlink, missing_ok=True)
        at = claims["offset"]
        descriptor = await asyncio.to_thread(_open, self._piece(claims["key"], _TOGETHER))
        try:
            async for batch in batches(chunks):
                if at + len(batch) > claims["offset"] + claims["size"]:
                    raise UploadTooLarge(f"The part is larger than {claims['size']} bytes.")
                at += await asyncio.to_thread(_write_at, descriptor, batch, at)
        except OSError as error:
            raise StorageUnavailable from error
        finally:
            os.close(descriptor)
        if at != claims["offset"] + claims["size"]:
            raise WrongContent
        await asyncio.to_thread(done.touch)

    async def arrived(self, transfer: Transfer) -> set[int]:
        if self._path(transfer.key).exists():
            return set(range(1, transfer.parts + 1))
        pieces = await asyncio.to_thread(self._pieces, transfer.key, "part-*")
        return {int(piece.name.rpartition("-")[2]) for piece in pieces}

    async def finish(self, transfer: Transfer) -> Stored:
        if len(await self.arrived(transfer)) < transfer.parts:
            raise PartsMissing
        if not self._path(transfer.key).exists():
            await asyncio.to_thread(self._piece(transfer.key, _TOGETHER).replace, self._path(transfer.key))
        for piece in await asyncio.to_thread(self._pieces, transfer.key, "part-*"):
            await asyncio.to_thread(piece.unlink, missing_ok=True)
        if self._path(transfer.key).stat().st_size != transfer.size:
            raise WrongContent
        return Stored(transfer.key, transfer.sha256, transfer.size, proven=transfer.parts == 1)

    def download_url(self, key: str, filename: str, media_type: str = "application/octet-stream") -> str:
        return self._url(method="GET", key=key, filename=filename, media_type=media_type)

    def answer(self, key: str, sha256: str, filename: str, media_type: str, kind: str = "attachment") -> Response:
        return FileResponse(
            self._path(key),
            media_type=media_type,
            headers={
                "ETag": f'"{sha256}"',
                "X-Content-Type-Options": "nosniff",
                "Content-Disposition": disposition(filename, kind),
            },
        )

    def read(self, claims: dict[str, Any]) -> FileResponse:
        """What a link leads to. Raises ObjectGone."""
        path = self._path(claims["key"])
        if not path.is_file():
            raise ObjectGone
        return FileResponse(path, filename=claims["filename"], media_type=claims["media_type"])

    async def check(self) -> None:
        if not await asyncio.to_thread(os.access, self._folder, os.W_OK):
            raise StorageUnavailable

    def _url(self, **claims: Any) -> str:
        return f"{self._public_url}/v1/files/{self._signer.sign(Use.FILE, self._url_seconds, **claims)}"

    def _path(self, key: str) -> Path:
        return self._folder / key

    def _piece(self, key: str, name: str) -> Path:
        return self._folder / f"{key}#{name}"

    def _pieces(self, key: str, pattern: str) -> list[Path]:
        path = self._path(key)
        return list(path.parent.glob(f"{path.name}#{pattern}"))


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)


def _write_at(descriptor: int, content: bytes, offset: int) -> int:
    """All of it, whatever the system takes at once."""
    view, done = memoryview(content), 0
    while done < len(content):
        done += os.pwrite(descriptor, view[done:], offset + done)
    return done
