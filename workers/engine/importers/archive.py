"""Unpacking a zip, or a tar, that a stranger made."""

import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from workers.engine.importers.errors import InvalidModel, UnsafeFile
from workers.engine.zips import open_zip

MAX_MEMBERS = 10_000
MAX_BYTES = 16 * 2**30
MAX_RATIO = 200
"""Real weights hardly shrink, pruned ones perhaps tenfold; only a bomb grows more than this."""
SMALL = 2**20
CHUNK = 2**20
IGNORED = "__MACOSX"
DAMAGED = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if "\\" in name or ":" in name or path.is_absolute() or ".." in path.parts:
        raise UnsafeFile(f"The archive holds '{name}', a path that leads out of its folder.")


def _check_member(member: zipfile.ZipInfo) -> None:
    _check_name(member.filename)
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeFile(f"The zip archive holds '{member.filename}', which is a link or device, not a file.")
    if member.flag_bits & 0x1 or member.compress_type not in METHODS:
        raise InvalidModel(f"'{member.filename}' is encrypted or compressed in an unusual way.", hint="Zip it plainly.")
    if member.file_size > SMALL and member.file_size > MAX_RATIO * max(member.compress_size, 1):
        raise UnsafeFile(f"'{member.filename}' would grow more than {MAX_RATIO}-fold when unpacked.")


def check_zip(archive: zipfile.ZipFile) -> None:
    """Raises UnsafeFile, InvalidModel for what must not be unpacked."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise UnsafeFile(f"The zip archive holds {len(members)} files; at most {MAX_MEMBERS} are unpacked.")
    for member in members:
        _check_member(member)
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        raise UnsafeFile(f"The zip archive would unpack to {total} bytes; the limit is {MAX_BYTES}.")


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    target = folder.joinpath(*PurePosixPath(member.filename).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as file:  # reading ends at the declared size
        while chunk := source.read(CHUNK):
            file.write(chunk)


def names_in_tar(path: Path) -> list[str]:
    """Raises InvalidModel for a damaged one, UnsafeFile for one that grows too much or holds more than plain files."""
    try:
        with tarfile.open(path) as archive:
            return [member.name for member in _checked(archive, path.stat().st_size)]
    except DAMAGED as error:
        raise InvalidModel(f"The tar archive is damaged: {error}.") from error


def _checked(archive: tarfile.TarFile, size: int) -> Iterator[tarfile.TarInfo]:
    """Its members; each is checked before what lies behind it is read."""
    total = 0
    for number, member in enumerate(archive, 1):
        _check_name(member.name)
        total += member.size
        if not (member.isfile() or member.isdir()):
            raise UnsafeFile(f"The archive holds '{member.name}', which is a link or device, not a file.")
        if number > MAX_MEMBERS or total > min(MAX_BYTES, SMALL + MAX_RATIO * size):
            raise UnsafeFile("The tar archive holds too many files, or grows too much when it is unpacked.")
        yield member


def _unpack_tar(path: Path, folder: Path) -> None:
    with tarfile.open(path) as archive:
        for member in _checked(archive, path.stat().st_size):
            archive.extract(member, folder, filter="data")


def _unpack_zip(path: Path, folder: Path) -> None:
    with open_zip(path) as archive:
        check_zip(archive)
        for member in archive.infolist():
            if not member.is_dir():
                _unpack_member(archive, member, folder)


def unpack(path: Path, scratch: Path) -> Path:
    """Unpack into a new folder of `scratch` and return it. Nothing is written before it has been checked."""
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="unpacked-"))
    try:
        if zipfile.is_zipfile(path):
            _unpack_zip(path, folder)
        else:
            _unpack_tar(path, folder)
    except (zipfile.BadZipFile, FileExistsError, NotADirectoryError, *DAMAGED) as error:
        raise InvalidModel(f"The archive is damaged: {error}.") from error
    return folder


def only_file(pattern: str, folder: Path) -> Path:
    """The one file below `folder` whose name matches. Raises InvalidModel if there is none, or there are more."""
    found = [path for path in folder.rglob(pattern) if path.is_file() and IGNORED not in path.parts]
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in found)[:5])
        raise InvalidModel(f"The archive must hold one {pattern} file, not {len(found)} ({names}).")
    return found[0]
