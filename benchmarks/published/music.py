"""Basic Pitch (Spotify, Apache-2.0): which notes sound, and when? Two seconds of sound at 22,050 Hz."""

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.published.published import Published, save
from examples.audio import INPUT, LENGTH, NETWORK, RATE
from examples.packages import packaged

COUNTS = {"calibration": 24, "test": 60}
NOTES = (3, 9)
LOWEST, HIGHEST = 40, 84
"""Keys: 69 is 440 Hz (MIDI)."""


def write(folder: Path) -> None:
    shutil.copyfile(packaged(NETWORK, "nmp.onnx"), folder / "model.onnx")
    save(folder, **{split: {INPUT: pieces(count, seed)} for seed, (split, count) in enumerate(COUNTS.items())})


def pieces(count: int, seed: int) -> NDArray[np.float32]:
    """[N, 43844, 1] of about -1 to 1."""
    random = np.random.default_rng(seed)
    return np.stack([piece(random) for _ in range(count)])


def piece(random: np.random.Generator) -> NDArray[np.float32]:
    """Some struck strings: harmonics that fade, the higher the faster."""
    time, sound = np.arange(LENGTH) / RATE, random.normal(0, 0.002, LENGTH)
    for _ in range(random.integers(*NOTES)):
        hertz, since = 440 * 2 ** ((random.integers(LOWEST, HIGHEST) - 69) / 12), time - random.uniform(0, 1.5)
        for number in range(1, 7):
            fading = np.where(since > 0, np.exp(-np.abs(since) * (2 + number)), 0)
            sound += random.uniform(0.3, 1) / number * fading * np.sin(2 * np.pi * number * hertz * since)
    return (sound / np.abs(sound).max()).astype(np.float32)[:, None]


MODELS = {
    "basic_pitch": Published(
        task="notes in music",
        inputs="struck strings, made here",
        packages=(NETWORK,),
        write=write,
    )
}
