"""Three networks trained here on Fashion-MNIST (Xiao et al. 2017): an MLP, a CNN, and a ResNet.

The 70,000 images (MIT licence) come from the Debian package `dataset-fashion-mnist`; FASHION_MNIST names another folder
with the same four files. The networks are plain PyTorch, exported as is usual: batch-norm folded into convolutions.
"""

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from examples import exporting

FOLDER = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
MEAN, DEVIATION = 0.2860, 0.3530
HEADER = {"images": 16, "labels": 8}
CALIBRATION = 512


def is_there() -> bool:
    return (FOLDER / "train-images-idx3-ubyte.gz").exists()


def _read(part: str, what: str) -> NDArray[np.uint8]:
    (path,) = FOLDER.glob(f"{part}-{what}-idx*-ubyte.gz")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=HEADER[what])


def images(part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images [N, 1, 28, 28], normalized, and class ids [N], of `train` (60,000) or `t10k` (10,000)."""
    pixels = _read(part, "images").reshape(-1, 1, 28, 28).astype(np.float32)
    return (pixels / 255 - MEAN) / DEVIATION, _read(part, "labels").astype(np.int64)


def write(path: Path, train: int = 60_000) -> Path:
    """The .npz of a job: so many samples to train with, 512 of them also to calibrate with, and all 10,000 to test."""
    arrays = {}
    parts = {"train": images("train"), "test": images("t10k")}
    parts["train"] = tuple(array[:train] for array in parts["train"])
    parts["calibration"] = tuple(array[:CALIBRATION] for array in parts["train"])
    for split, (x, labels) in parts.items():
        arrays |= {f"{split}/x": x, f"{split}/labels": labels}
    np.savez(path, **arrays)
    return path


def conv(into: int, out: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, size, stride, size // 2, bias=False), nn.BatchNorm2d(out))


class Block(nn.Module):
    """Two convolutions and a way around them (He et al. 2016)."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = conv(into, out, stride), conv(out, out)
        self.around = nn.Identity() if into == out else conv(into, out, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.first(x).relu()) + self.around(x)).relu()  # type: ignore[no-any-return]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn() -> nn.Module:
    widths = ((1, 32, 1), (32, 32, 2), (32, 64, 1), (64, 64, 2), (64, 64, 1))
    layers = [layer for sizes in widths for layer in (*conv(*sizes), nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def resnet(width: int = 32) -> nn.Module:
    """308,000 parameters at width 32. As on ImageNet, the first convolution already halves the image."""
    blocks = [Block(width, width, 1), Block(width, 2 * width, 1), Block(2 * width, 4 * width, 2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10)]
    return nn.Sequential(conv(1, width, 2), nn.ReLU(), *blocks, *head)


@dataclass(frozen=True)
class Network:
    make: Callable[[], nn.Module]
    epochs: int


NETWORKS = {"mlp": Network(mlp, 8), "cnn": Network(cnn, 5), "resnet": Network(resnet, 5)}


def train(network: Network, samples: int = 60_000, seed: int = 0) -> nn.Module:
    """Adam with a rate that falls along half a cosine; every image is mirrored every second time."""
    torch.manual_seed(seed)
    x, labels = (torch.from_numpy(array[:samples]) for array in images("train"))
    net, batch = network.make(), 128
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, network.epochs * -(-len(x) // batch))
    for _ in range(network.epochs):
        for rows in torch.randperm(len(x)).split(batch):
            seen = torch.where(torch.rand(len(rows), 1, 1, 1) < 0.5, x[rows], x[rows].flip(3))  # noqa: PLR2004 - half
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(seen), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def export(net: nn.Module, path: Path) -> Path:
    return exporting.export(net, [torch.zeros(1, 1, 28, 28)], path)
