"""Zip archives that strangers made: every way in which they are damaged is one error."""

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Raises BadZipFile, also for what goes wrong while its members are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (EOFError, NotImplementedError, struct.error, zlib.error) as error:
        raise zipfile.BadZipFile(str(error) or "it breaks off") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise zipfile.BadZipFile("its directory points outside of it") from error
