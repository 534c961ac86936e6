"""Magika (Google, Apache-2.0): what kind of file is this, by its first and last thousand bytes? 214 classes."""

import shutil
import sysconfig
from pathlib import Path

import numpy as np

from benchmarks.published.published import Published, save
from examples.packages import packaged
from examples.text import NETWORK, characters

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


def write(folder: Path) -> None:
    shutil.copyfile(packaged(NETWORK, "model.onnx"), folder / "model.onnx")
    samples = np.stack([characters(path.read_bytes()) for path in sources()])
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


MODELS = {
    "magika": Published(
        task="type of a file, 214 classes",
        inputs="files of the installed packages",
        packages=(NETWORK,),
        write=write,
    )
}
