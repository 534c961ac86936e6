"""Archives that are the same bytes for the same content: no times, no owners, files in the order they are given."""

import gzip
import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from whetstone.contract.steps import PackedFile

LEVEL = 0
"""Stored as it is: weights hardly shrink, and squeezing a hundred megabytes of them takes longer than timing them."""


class Packer:
    """Writes files into one folder of a tar archive, and remembers their hashes."""

    def __init__(self, archive: tarfile.TarFile, folder: str) -> None:
        self._archive, self._folder = archive, folder
        self.packed: list[PackedFile] = []

    def add(self, name: str, file: Path) -> None:
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            content.seek(0)
            self._archive.addfile(_entry(f"{self._folder}/{name}", file.stat().st_size), content)
        self.packed.append(PackedFile(name=name, sha256=digest))

    def write(self, name: str, text: str) -> None:
        content = text.encode()
        self._archive.addfile(_entry(f"{self._folder}/{name}", len(content)), io.BytesIO(content))
        self.packed.append(PackedFile(name=name, sha256=hashlib.sha256(content).hexdigest()))


@contextmanager
def packing(path: Path, folder: str) -> Iterator[Packer]:
    with (
        path.open("wb") as file,
        _squeezed(file) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        yield Packer(archive, folder)


def prepend(name: str, content: bytes, archive: Path, into: Path) -> None:
    """Write an archive with one file more in front, without unpacking it: gzip files add up, and so do tar entries.

    RFC 1952, section 2.2: a gzip file is a series of members, one after the other.
    """
    with into.open("wb") as file:
        with _squeezed(file) as packed:
            packed.write(_entry(name, len(content)).tobuf(tarfile.PAX_FORMAT))
            packed.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
        with archive.open("rb") as rest:
            shutil.copyfileobj(rest, file)


def _squeezed(file: BinaryIO) -> BinaryIO:
    return cast("BinaryIO", gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=LEVEL, mtime=0))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry
