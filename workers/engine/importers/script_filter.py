"""Of a TorchScript archive what running it needs, written anew; what would run on loading is refused.

torch.jit.load runs nothing of a file but the `__setstate__` methods of its modules, and builds objects of C++ classes
that it names. What methods do otherwise is checked when it is loaded, and before it is run.
"""

import re
import zipfile
from pathlib import Path

from workers.engine.importers.archive import check_zip
from workers.engine.importers.errors import InvalidModel, UnsafeFile
from workers.engine.importers.instead import FROM_TORCH
from workers.engine.zips import open_zip

CHUNK = 2**20
KEPT = re.compile(
    r"[^/]+/(data\.pkl|constants\.pkl|version|byteorder|\.data/version|code/[\w/.-]+\.py|(data|constants)/\d+"
    r"|extra/inputs\.json)"
)
READ_THROUGH = (".py", ".pkl")
RUNS_ON_LOADING = re.compile(rb"__setstate__|torch\.classes\.|\bclasses\.\w+\.\w+")


def filtered_script(path: Path, target: Path) -> None:
    """Write to `target` what of the archive is read. Raises UnsafeFile, InvalidModel."""
    try:
        with open_zip(path) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as clean:
            check_zip(archive)
            for name in dict.fromkeys(archive.namelist()):
                if KEPT.fullmatch(name):
                    _copy(archive, name, clean)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InvalidModel(f"The TorchScript archive is damaged: {error}.", hint=FROM_TORCH) from error


def _copy(archive: zipfile.ZipFile, name: str, clean: zipfile.ZipFile) -> None:
    before = b""
    with archive.open(name) as source, clean.open(name, "w", force_zip64=True) as copy:
        while chunk := source.read(CHUNK):
            if name.endswith(READ_THROUGH) and (found := RUNS_ON_LOADING.search(before + chunk)):
                what = found.group().decode(errors="replace")
                raise UnsafeFile(
                    f"'{name}' in the TorchScript archive holds '{what}', which runs when it is loaded.",
                    hint=f"Export it without: {FROM_TORCH}",
                )
            copy.write(chunk)
            before = chunk[-CHUNK // 2 :]
