"""Reading an .npz member by member into memory-mapped arrays: memory does not grow with the file."""

import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from workers.engine.data.errors import InvalidDataset
from workers.engine.zips import open_zip

Array = NDArray[np.generic]

MAX_MEMBERS = 1000
MAX_BYTES = 64 * 2**30
CHUNK = 2**20
SUFFIX = ".npy"
KINDS = "fiub"
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def _check_header(file: IO[bytes], name: str) -> None:
    """Refuse arrays that are not plain numbers: Python objects would have to be unpickled."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (ValueError, EOFError) as error:
        raise InvalidDataset(f"'{name}' is not a NumPy array: {error}") from error
    if dtype.kind not in KINDS:
        raise InvalidDataset(f"'{name}' holds {dtype.name}; only numbers and booleans are read.")
    if not shape:
        raise InvalidDataset(f"'{name}' is a single number; samples are stacked along the first axis.")
    if 0 in shape:
        raise InvalidDataset(f"'{name}' is empty: its shape is {list(shape)}.")


def _copy(source: IO[bytes], target: Path) -> None:
    with target.open("xb") as file:
        while chunk := source.read(CHUNK):
            file.write(chunk)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Array:
    name = member.filename.removesuffix(SUFFIX)
    with archive.open(member) as file:
        _check_header(file, name)
    with archive.open(member) as file:
        _copy(file, target)
    return _mapped(target, name)


def read_npy(path: Path, name: str) -> dict[str, Array]:
    """The one array of an .npy, mapped where it lies. Raises InvalidDataset."""
    with path.open("rb") as file:
        _check_header(file, name)
    return {name: _mapped(path, name)}


def _mapped(path: Path, name: str) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InvalidDataset(f"'{name}' breaks off before its end.") from error
    return array


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise InvalidDataset(f"The archive holds {len(members)} arrays; at most {MAX_MEMBERS} are read.")
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise InvalidDataset(f"The archive would unpack to more than {MAX_BYTES} bytes.")
    for member in members:
        if not member.filename.endswith(SUFFIX):
            raise InvalidDataset(f"The archive holds '{member.filename}', which is not a NumPy array.")
        if member.flag_bits & 0x1 or member.compress_type not in METHODS:
            raise InvalidDataset(f"'{member.filename}' is encrypted or compressed in an unusual way.")
    if not members:
        raise InvalidDataset("The archive is empty.")
    return members


def read_npz(path: Path, folder: Path) -> dict[str, Array]:
    """Unpack every member into `folder` and map it. Nothing is ever unpickled. Raises InvalidDataset."""
    arrays: dict[str, Array] = {}
    try:
        with open_zip(path) as archive:
            for number, member in enumerate(_members(archive)):
                name = member.filename.removesuffix(SUFFIX)
                if name in arrays:
                    raise InvalidDataset(f"'{name}' appears twice.")
                arrays[name] = _read_member(archive, member, folder / f"{number}{SUFFIX}")
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InvalidDataset(f"The file is not a whole .npz archive: {error}") from error
    return arrays
