"""Which reader takes a file: told by its first bytes, or by what is declared of it.

A reader is loaded when it is needed: most steps spare pyarrow, h5py, the tokenizers and the library of sounds.
"""

from pathlib import Path
from typing import assert_never

from whetstone.contract.preprocessing import (
    Images,
    Preprocessing,
    Recordings,
    SingleArray,
    StatisticsFile,
    Table,
    Texts,
)
from workers.engine.data.archive import read_npy, read_npz
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.images import read_images
from workers.engine.data.unpacked import Unpacked

HDF5 = b"\x89HDF\r\n\x1a\n"


def named_arrays(path: Path, folder: Path) -> Unpacked:
    """The arrays of an .npz or .h5 by name. Raises InvalidDataset."""
    with path.open("rb") as file:
        is_hdf5 = file.read(len(HDF5)) == HDF5
    if is_hdf5:
        from workers.engine.data.hdf5 import read_hdf5  # noqa: PLC0415 - see above

        return Unpacked("hdf5", read_hdf5(path, folder))
    return Unpacked("npz", read_npz(path, folder))


def unpacked(path: Path, folder: Path, how: Preprocessing) -> Unpacked:
    """A file whose samples are made as declared. Raises InvalidDataset, DatasetMismatch."""
    match how:
        case Images():
            return read_images(path, folder, how)
        case SingleArray():
            return Unpacked("npy", read_npy(path, how.input))
        case Table():
            from workers.engine.data.tables import read_table  # noqa: PLC0415 - see above

            return read_table(path, folder, how)
        case Texts():
            from workers.engine.data.texts import read_texts  # noqa: PLC0415 - see above

            return read_texts(path, folder, how)
        case Recordings():
            from workers.engine.data.recordings import read_recordings  # noqa: PLC0415 - see above

            return read_recordings(path, folder, how)
        case StatisticsFile():
            raise DatasetMismatch(
                "The file holds statistics, and samples are needed.", hint="Name it as `calibration_id` of the job."
            )
        case _:
            assert_never(how)
