"""Files, by content: kept once per tenant, written and read by signed links. What every kind of storage can do."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

from fastapi.responses import Response

from app.core.errors import AppError
from whetstone.contract.uploads import PartLink

BATCH = 4 * 2**20  # bytes hashed and written at a time: two of these are all the memory an upload takes
STREAMED = 2**62  # uploads are counted while they stream, so the limit of ordinary bodies is lifted
HEAD = 512  # bytes that tell what a file is
PART = 16 * 2**20
MOST_PARTS = 1000
_MEBIBYTE = 2**20


class UploadTooLarge(AppError):
    """The file is larger than this service takes."""

    code, status = "upload_too_large", 413


class StorageUnavailable(AppError):
    """The file storage cannot be reached right now; nothing was changed."""

    code, status = "storage_unavailable", 503
    hint = "Try again in a moment."


class WrongContent(AppError):
    """The bytes that arrived are not the ones that were announced (size or SHA-256 differ)."""

    code, status = "wrong_content", 422


class PartsMissing(AppError):
    """Not all parts of the file have arrived."""

    code, status = "parts_missing", 409
    hint = "Ask for the parts that are missing, send them, and complete the upload then."


class UnsupportedStorage(ValueError):
    """WHETSTONE_STORAGE_URL must be `file:///absolute/folder` or `s3://bucket`."""


@dataclass(frozen=True)
class Stored:
    """Bytes that arrived: where they lie now, and what they are.

    `proven`: the service, or the storage for it, has seen that they have this hash. Otherwise it is what was announced,
    and whoever reads them first must look.
    """

    key: str
    sha256: str
    size: int
    proven: bool = True


@dataclass(frozen=True)
class Transfer:
    """Bytes on their way, which go straight to the storage, in one part or several.

    `multipart` is the storage's own name for what it puts together; None where there is one part.
    """

    key: str
    sha256: str
    size: int
    part_size: int
    multipart: str | None = None

    @property
    def parts(self) -> int:
        return max(1, -(-self.size // self.part_size))

    def offset(self, number: int) -> int:
        return (number - 1) * self.part_size

    def length(self, number: int) -> int:
        return min(self.part_size, self.size - self.offset(number))


def part_size_of(size: int, single: int = PART) -> int:
    """Bytes of a part: all of them up to `single`, else in whole MiB and so that MOST_PARTS are enough."""
    if size <= single:
        return size
    return max(PART, -(-size // (MOST_PARTS * _MEBIBYTE)) * _MEBIBYTE)


def disposition(filename: str, kind: str = "attachment") -> str:
    """RFC 6266."""
    return f"{kind}; filename*=utf-8''{quote(filename, safe='')}"


class Storage(ABC):
    """Keys begin with the tenant and are never used twice. What does not only sign raises StorageUnavailable."""

    single: int
    """Bytes that one part may have at most."""

    @abstractmethod
    async def write(self, key: str, chunks: AsyncIterator[bytes], limit: int) -> Stored:
        """Stream bytes in. Raises UploadTooLarge; what it left behind is for `delete` to remove."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove an object, whole or half-written."""

    @abstractmethod
    async def head(self, key: str) -> bytes:
        """The first HEAD bytes."""

    @abstractmethod
    async def whole(self, key: str) -> bytes:
        """All of an object that is small, such as a page."""

    @abstractmethod
    async def digest(self, key: str) -> str:
        """Read all of an object, for its SHA-256."""

    @abstractmethod
    def keys(self, prefix: str) -> AsyncIterator[str]:
        """Every object under a folder, and whatever is half-written there."""

    @abstractmethod
    async def begin(self, transfer: Transfer) -> Transfer:
        """Make ready for the parts."""

    @abstractmethod
    def link(self, transfer: Transfer, number: int) -> PartLink:
        """Takes exactly the bytes of this part, until it expires; where it is the only one, of this hash."""

    @abstractmethod
    async def arrived(self, transfer: Transfer) -> set[int]:
        """The parts that are there."""

    @abstractmethod
    async def finish(self, transfer: Transfer) -> Stored:
        """Put the parts together; once more changes nothing. Raises PartsMissing, WrongContent."""

    @abstractmethod
    def download_url(self, key: str, filename: str, media_type: str = "application/octet-stream") -> str:
        """A link that reads this one object until it expires."""

    @abstractmethod
    def answer(self, key: str, sha256: str, filename: str, media_type: str, kind: str = "attachment") -> Response:
        """The bytes, or the way to them."""

    @abstractmethod
    async def check(self) -> None:
        """Whether the storage answers. Raises StorageUnavailable."""


async def batches(chunks: AsyncIterator[bytes], size: int = BATCH) -> AsyncIterator[bytes]:
    """Join small chunks into batches of at least `size` bytes, but for the last."""
    waiting: list[bytes] = []
    held = 0
    async for chunk in chunks:
        waiting.append(chunk)
        held += len(chunk)
        if held >= size:
            yield b"".join(waiting)
            waiting, held = [], 0
    if waiting:
        yield b"".join(waiting)
