"""Unpacking a zip that a stranger made."""

import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from workers.engine.importers.errors import InvalidModel, UnsafeFile

MAX_MEMBERS = 10_000
MAX_BYTES = 16 * 2**30
MAX_RATIO = 200
"""Real weights hardly shrink, pruned ones perhaps tenfold; only a bomb grows more than this."""
SMALL = 2**20
CHUNK = 2**20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if "\\" in name or ":" in name or path.is_absolute() or ".." in path.parts:
        raise UnsafeFile(f"The zip archive holds '{name}', a path that leads out of its folder.")


def _check_member(member: zipfile.ZipInfo) -> None:
    _check_name(member.filename)
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UnsafeFile(f"The zip archive holds '{member.filename}', which is a link or device, not a file.")
    if member.flag_bits & 0x1 or member.compress_type not in METHODS:
        raise InvalidModel(f"'{member.filename}' is encrypted or compressed in an unusual way.", hint="Zip it plainly.")
    if member.file_size > SMALL and member.file_size > MAX_RATIO * max(member.compress_size, 1):
        raise UnsafeFile(f"'{member.filename}' would grow more than {MAX_RATIO}-fold when unpacked.")


def _check(archive: zipfile.ZipFile) -> None:
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


def unpack(path: Path, scratch: Path) -> Path:
    """Unpack into a new folder of `scratch` and return it. Everything is checked before anything is written."""
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="unpacked-"))
    try:
        with zipfile.ZipFile(path) as archive:
            _check(archive)
            for member in archive.infolist():
                if not member.is_dir():
                    _unpack_member(archive, member, folder)
    except (zipfile.BadZipFile, EOFError, FileExistsError, NotADirectoryError, zlib.error) as error:
        raise InvalidModel(f"The zip archive is damaged: {error}.") from error
    return folder
