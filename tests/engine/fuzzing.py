"""Damaged files for the importers and the dataset readers: each ends in a result or in a typed refusal, nothing else.

Every case is made from a seed and a number alone, so that `python -m scripts.fuzz --seed S --only N` makes it again.
Each runs in a forked child with limits, as in the sandbox; a reader that crashes there is contained, but told.
"""

import csv
import faulthandler
import importlib
import io
import os
import pickle
import random
import resource
import shutil
import signal
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skops.io
import xgboost
from PIL import Image
from sklearn.tree import DecisionTreeClassifier

from tests.engine import models
from tests.engine.importers import torch_archive_sources
from whetstone.contract.preprocessing import Images, Table, TableInput, TableLabel
from workers.engine.data.samples import open_dataset
from workers.engine.errors import EngineError
from workers.engine.importers.detect import open_model
from workers.engine.toolkits.environments import FOLDER_VARIABLE

SECONDS = 20
MEMORY = 4 * 2**30
CRASHED = "crashed"
SLOW = ("onnxmltools", "pyarrow.csv", "pyarrow.parquet", "skl2onnx")
"""Imported before, or each child would pay for it."""
TABLE = Table(inputs=(TableInput(name="x", columns=("a", "b")),), label=TableLabel(column="y"))
IMAGES = Images(input="x", height=8, width=8)

Reader = Callable[[Path, Path], object]


class Seed(NamedTuple):
    """A good file, and what reads it."""

    name: str
    content: bytes
    reader: Reader


class Finding(NamedTuple):
    """A case that ended in another way than it may: what was read, and how it ended."""

    number: int
    seed: str
    ended: str


def _models() -> Iterator[tuple[str, bytes]]:
    onnx = models.random_mlp().SerializeToString()
    yield "model.onnx", onnx
    yield "constants.onnx", models.matmul_as_constant().SerializeToString()
    yield "zipped.onnx", _zipped(**{"m/model.onnx": onnx, "m/readme": b"hello"})
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(np.eye(8), np.arange(8) % 3)
    yield "tree.skops", skops.io.dumps(tree)
    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(np.eye(8), label=np.arange(8)), 2)
    yield "booster.json", bytes(booster.save_raw("json"))
    yield "booster.ubj", bytes(booster.save_raw("ubj"))
    config = b'{"model_type": "bert", "architectures": ["BertModel"]}'
    weights = b"\x40" + bytes(7) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(64) + bytes(4)
    yield "folder.zip", _zipped(**{"b/config.json": config, "b/model.safetensors": weights})
    yield "pickle.pkl", pickle.dumps({"a": [1, 2]})
    with tempfile.TemporaryDirectory() as folder:
        yield "program.pt2", torch_archive_sources.program(Path(folder) / "m.pt2").read_bytes()
        yield "script.pt", torch_archive_sources.script(Path(folder) / "m.pt").read_bytes()


def _datasets() -> Iterator[tuple[str, bytes, Table | Images | None]]:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.eye(12, 4, dtype=np.float32), labels=np.arange(12) % 3)
    yield "data.npz", buffer.getvalue(), None
    text = io.StringIO()
    csv.writer(text).writerows([("a", "b", "y"), *((i, i / 2, "no" if i % 2 else "yes") for i in range(30))])
    yield "data.csv", text.getvalue().encode(), TABLE
    pictures = {}
    for number in range(12):
        drawn = io.BytesIO()
        Image.fromarray(np.full((9, 9, 3), number * 9, np.uint8)).save(drawn, "png" if number % 2 else "jpeg")
        pictures[f"{'ab'[number % 2]}/{number}.png"] = drawn.getvalue()
    yield "images.zip", _zipped(**pictures), IMAGES


def _zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def seeds() -> list[Seed]:
    made = [Seed(name, content, open_model) for name, content in _models()]
    for name, content, how in _datasets():
        made.append(Seed(name, content, lambda path, scratch, how=how: open_dataset(path, scratch, how)))
    return made


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A few of: bytes changed, a piece cut out, doubled, moved or made extreme, the end lost."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        place, length = draw.randrange(len(data) + 1), draw.choice((1, 1, 2, 4, 8, 64))
        match draw.randrange(6):
            case 0:
                data[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                data[place : place + length] = b""
            case 2:
                data[place:place] = data[place : place + length]
            case 3:
                data[place : place + length] = draw.choice((b"\0", b"\xff", b"\x7f", b"\x80", b"9")) * length
            case 4:
                data[place:place] = draw.randbytes(length)
            case 5 if draw.random() < 0.3:
                del data[place:]
    return bytes(data)


def case(seed: int, number: int, known: list[Seed]) -> tuple[Seed, bytes]:
    """The file of this number; of a zip half of the cases damage a member, and leave the archive whole."""
    draw = random.Random(f"{seed} {number}")  # noqa: S311 - no secret
    chosen = known[number % len(known)]
    if zipfile.is_zipfile(io.BytesIO(chosen.content)) and draw.random() < 0.5:
        with zipfile.ZipFile(io.BytesIO(chosen.content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = draw.choice(list(members))
        return chosen, _zipped(**members | {name: damaged(members[name], draw)})
    return chosen, damaged(chosen.content, draw)


def ended(read: Reader, name: str, content: bytes) -> str | None:
    """How reading ends, in a child that is given limits and no toolkits; None where it is as it must be."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / name).write_bytes(content)
    told = folder / "told.txt"
    child = os.fork()
    if child == 0:
        _read(read, folder / name, folder, told)
    try:
        status = _wait(child)
        if status is None:
            return f"took longer than {SECONDS} seconds"
        if os.WIFSIGNALED(status):
            return f"{CRASHED}: {signal.Signals(os.WTERMSIG(status)).name}"
        return told.read_text() or None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(child: int) -> int | None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _read(read: Reader, path: Path, scratch: Path, told: Path) -> None:
    """Never returns."""
    outcome = ""
    try:
        faulthandler.disable()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.environ[FOLDER_VARIABLE] = str(scratch / "no-toolkits")
        read(path, scratch)
    except (EngineError, MemoryError):
        pass
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        outcome = f"{type(error).__module__}.{type(error).__qualname__}: {str(error)[:300]}"
    told.write_text(outcome)
    os._exit(0)


def fuzz(seed: int, numbers: Iterator[int]) -> Iterator[Finding | None]:
    """One after the other; None for a case that ended as it must."""
    for library in SLOW:
        importlib.import_module(library)
    known = seeds()
    for number in numbers:
        chosen, content = case(seed, number, known)
        found = ended(chosen.reader, chosen.name, content)
        yield None if found is None else Finding(number, chosen.name, found)
