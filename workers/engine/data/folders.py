"""Files in folders in a .zip or .tar: which split and which class each belongs to, by its path alone."""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.datasets import Split
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.unpacked import ORDER
from workers.engine.zips import open_zip

MAX_FILES = 2_000_000
MAX_FILE_BYTES = 256 * 2**20
IGNORED = ("__MACOSX", "Thumbs.db", "desktop.ini")
PACK = "Pack the files into a .zip or an uncompressed .tar."
HINT = "Put the files of each class into a folder named after it: cat/1.jpg, or train/cat/1.jpg where splits are given."


@dataclass(frozen=True)
class Entry:
    name: str
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Places:
    """The row of each file; labels, split of each row (see Unpacked) and class names, where paths tell."""

    rows: dict[str, int]
    labels: NDArray[np.int64] | None
    splits: NDArray[np.uint8] | None
    classes: tuple[str, ...]


class Archive:
    """The files of an archive, in its order. Nothing is written anywhere, and links are not followed."""

    def __init__(self, names: Callable[[], Iterator[str]], entries: Callable[[], Iterator[Entry]]) -> None:
        self.names = names
        self.entries = entries


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Raises InvalidDataset."""
    try:
        if zipfile.is_zipfile(path):
            with open_zip(path) as archive:
                yield _zip(archive)
        else:
            with tarfile.open(path, "r:", errors="replace") as archive:
                yield _tar(archive)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise InvalidDataset(f"The file is not a whole .zip or .tar: {error}", hint=PACK) from error


def _zip(archive: zipfile.ZipFile) -> Archive:
    members = [member for member in archive.infolist() if not member.is_dir() and not _ignored(member.filename)]
    for member in members:
        _check_size(member.filename, member.file_size)

    def entries() -> Iterator[Entry]:
        for member in members:
            yield Entry(member.filename, partial(archive.open, member))

    return Archive(lambda: (member.filename for member in members), entries)


def _tar(archive: tarfile.TarFile) -> Archive:
    members = [member for member in archive if member.isfile() and not _ignored(member.name)]
    for member in members:
        _check_size(member.name, member.size)

    def entries() -> Iterator[Entry]:
        for member in members:
            yield Entry(member.name, partial(_extracted, archive, member))

    return Archive(lambda: (member.name for member in members), entries)


def _extracted(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    assert file is not None  # noqa: S101 - it is a file
    return file


def _check_size(name: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise InvalidDataset(f"'{name}' has {size} bytes; at most {MAX_FILE_BYTES} are read of one file.")


def _ignored(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not parts or parts[0] in IGNORED or parts[-1] in IGNORED or parts[-1].startswith(".")


def places_of(names: Iterable[str]) -> Places:
    """Raises InvalidDataset unless all paths are of one form: class folders, perhaps in split folders, perhaps in one
    folder around all.
    """
    found = {name: PurePosixPath(name).parts[:-1] for name in names}
    if not found or len(found) > MAX_FILES:
        raise InvalidDataset(f"The archive holds {len(found)} files; 1 to {MAX_FILES} are read.", hint=HINT)
    folders = _without_root(list(found.values()))
    splits = None
    if all(path and path[0] in tuple(Split) for path in folders):
        splits = np.array([ORDER.index(Split(path[0])) for path in folders], np.uint8)
        folders = [path[1:] for path in folders]
    _check_form(list(found), folders)
    classes = tuple(sorted({path[0] for path in folders if path}))
    ids = {name: number for number, name in enumerate(classes)}
    labels = np.array([ids[path[0]] for path in folders], np.int64) if classes else None
    return Places({name: row for row, name in enumerate(found)}, labels, splits, classes)


def _without_root(folders: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Without a folder that is around all and says nothing."""
    first = folders[0][:1]
    around = first and first[0] not in tuple(Split) and all(path[:1] == first and path[1:] for path in folders)
    return [path[1:] for path in folders] if around else folders


def _check_form(names: list[str], folders: list[tuple[str, ...]]) -> None:
    depth = len(folders[0])
    for name, path in zip(names, folders, strict=True):
        if len(path) != depth or depth > 1:
            raise InvalidDataset(
                f"'{name}' is in no class folder as '{names[0]}' is, or too deep in folders.", hint=HINT
            )
