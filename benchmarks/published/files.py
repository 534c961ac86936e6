"""Magika (Google, Apache-2.0): what kind of file is this, by its first and last thousand bytes? 214 classes."""

import shutil
import sysconfig
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.published.published import Published, packaged, save

NETWORK = "magika"
ENDINGS = (
    ".py",
    ".so",
    ".txt",
    ".json",
    ".js",
    ".css",
    ".html",
    ".png",
    ".h",
    ".npy",
    ".pyi",
    ".toml",
    ".c",
    ".gz",
    "",
)
OF_EACH = 30
SHORTEST = 64
BLOCK, PIECE, PADDING = 4096, 1024, 256


def write(folder: Path) -> None:
    shutil.copyfile(packaged(NETWORK, "model.onnx"), folder / "model.onnx")
    samples = np.stack([features(path.read_bytes()) for path in sources()])
    save(folder, calibration={"bytes": samples[::4]}, test={"bytes": np.delete(samples, np.s_[::4], axis=0)})


def sources() -> list[Path]:
    """Files of the installed packages, some of each ending, chosen by chance but always the same."""
    found = sorted(path for path in Path(sysconfig.get_path("purelib")).rglob("*") if path.is_file())
    random = np.random.default_rng(0)
    chosen = []
    for ending in ENDINGS:
        mine = [path for path in found if path.suffix == ending and path.stat().st_size > SHORTEST]
        chosen += [mine[row] for row in random.permutation(len(mine))[:OF_EACH]]
    return [chosen[row] for row in random.permutation(len(chosen))]


def features(content: bytes) -> NDArray[np.int32]:
    """1024 bytes from either end, without white space there, padded with 256: [2048]."""
    start, end = content[:BLOCK].lstrip()[:PIECE], content[-BLOCK:].rstrip()[-PIECE:]
    row = np.full(2 * PIECE, PADDING, np.int32)
    row[: len(start)] = list(start)
    row[2 * PIECE - len(end) :] = list(end)
    return row


MODELS = {
    "magika": Published(
        task="type of a file, 214 classes",
        inputs="files of the installed packages",
        packages=(NETWORK,),
        write=write,
    )
}
