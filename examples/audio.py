"""A listener that someone else trained: which notes sound, and when?

The network is Basic Pitch (Spotify, Apache-2.0), for two seconds of sound at 22,050 Hz. The sounds are the spoken
letters and digits of the package `captcha` (BSD), a few of them in a row at different loudness, with a little noise.
There are no labels: what is judged is how far the outputs turn from the original's.

    python -m examples.audio FOLDER      writes FOLDER/pitch.onnx and FOLDER/voices.npz
"""

import shutil
import sys
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample

from examples.packages import packaged

NETWORK, VOICES = "basic-pitch", "captcha"
INPUT = "serving_default_input_2:0"
RATE, LENGTH = 22_050, 43_844
COUNTS = {"calibration": 40, "test": 120}
IN_A_ROW = (2, 5)

Sound = NDArray[np.float64]


def write(folder: Path) -> tuple[Path, Path]:
    """Copy the model and put the sounds together; returns the paths of both."""
    folder.mkdir(parents=True, exist_ok=True)
    model, dataset = folder / "pitch.onnx", folder / "voices.npz"
    shutil.copyfile(packaged(NETWORK, "nmp.onnx"), model)
    spoken = voices()
    arrays = {}
    for seed, (split, count) in enumerate(COUNTS.items()):
        random = np.random.default_rng(seed)
        arrays[f"{split}/{INPUT}"] = np.stack([row(spoken, random) for _ in range(count)])
    np.savez(dataset, **arrays)
    return model, dataset


def voices() -> list[Sound]:
    """Every spoken letter and digit, about -1 to 1, at `RATE`."""
    folder = packaged(VOICES, "data/0/default.wav").parents[1]
    return [read(path) for path in sorted(folder.glob("?/default.wav"))]


def read(path: Path) -> Sound:
    """A file of one channel, 8 bits without sign."""
    with wave.open(str(path)) as file:
        rate, sound = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.uint8)
    centred = sound / 128.0 - 1
    return np.asarray(resample(centred, round(len(sound) * RATE / rate)))


def row(spoken: list[Sound], random: np.random.Generator) -> NDArray[np.float32]:
    """Some of them one after the other, [43844, 1]."""
    sound = random.normal(0, 0.002, LENGTH)
    place = int(random.integers(0, RATE // 4))
    for number in random.integers(0, len(spoken), random.integers(*IN_A_ROW)):
        piece = random.uniform(0.3, 1) * spoken[number][: LENGTH - place]
        sound[place : place + len(piece)] += piece
        place = min(LENGTH, place + len(piece) + int(random.integers(0, RATE // 8)))
    return np.clip(sound, -1, 1).astype(np.float32)[:, None]


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])))
