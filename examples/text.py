"""A reader of text that someone else trained: in which language is this file written?

The network is Magika (Google, Apache-2.0), which knows 214 kinds of files by their first and last thousand characters.
The files are those of the installed packages, and their endings say what they are.

    python -m examples.text FOLDER      writes FOLDER/magika.onnx and FOLDER/files.npz
"""

import json
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.packages import packaged

NETWORK = "magika"
KINDS = {
    ".py": "python",
    ".js": "javascript",
    ".json": "json",
    ".css": "css",
    ".html": "html",
    ".md": "markdown",
    ".rst": "rst",
    ".toml": "toml",
    ".xml": "xml",
    ".csv": "csv",
}
OF_EACH = 200
SHORTEST = 200
BLOCK, PIECE, PADDING = 4096, 1024, 256


def write(folder: Path) -> tuple[Path, Path]:
    """Copy the model and read the files, every second for calibration; returns the paths of both."""
    folder.mkdir(parents=True, exist_ok=True)
    model, dataset = folder / "magika.onnx", folder / "files.npz"
    shutil.copyfile(packaged(NETWORK, "model.onnx"), model)
    names = json.loads(packaged(NETWORK, "config.min.json").read_text())["target_labels_space"]
    found = sources()
    rows = np.stack([characters(path.read_bytes()) for path in found])
    labels = np.array([names.index(KINDS[path.suffix]) for path in found], np.int64)
    held = np.arange(len(rows)) % 2 > 0
    arrays = {}
    for split, chosen in (("calibration", ~held), ("test", held)):
        arrays |= {f"{split}/bytes": rows[chosen], f"{split}/labels": labels[chosen]}
    np.savez(dataset, **arrays)
    return model, dataset


def sources() -> list[Path]:
    """Files of the installed packages, some of each kind, chosen by chance but always the same."""
    there = sorted(path for path in Path(sysconfig.get_path("purelib")).rglob("*.*") if path.suffix in KINDS)
    random = np.random.default_rng(0)
    chosen = []
    for ending in KINDS:
        mine = [path for path in there if path.suffix == ending and path.stat().st_size > SHORTEST]
        chosen += [mine[row] for row in random.permutation(len(mine))[:OF_EACH]]
    return [chosen[row] for row in random.permutation(len(chosen))]


def characters(content: bytes) -> NDArray[np.int32]:
    """1024 bytes from either end, without white space there, padded with 256: [2048]."""
    start, end = content[:BLOCK].lstrip()[:PIECE], content[-BLOCK:].rstrip()[-PIECE:]
    row = np.full(2 * PIECE, PADDING, np.int32)
    row[: len(start)] = list(start)
    row[2 * PIECE - len(end) :] = list(end)
    return row


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])))
