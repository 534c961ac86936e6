"""MTCNN's cascade (Zhang et al. 2016): is this a face, and where? Weights of facenet-pytorch, faces of scikit-image.

The three networks are written out here, since the package cannot be imported without torchvision.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from benchmarks.published.published import Published, save, weights
from examples.exporting import export
from examples.packages import packaged

WEIGHTS, PICTURES = "facenet-pytorch", "scikit-image"
MAP_RANK = 4
CALIBRATION_OF_CLASS = 30
SCENE = (240, 320)
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "ihc.png", "color.png")
CUTS = {"calibration": 24, "test": 60}


class Stage(nn.Module):
    """Layers in a row, then heads side by side; the first head's two numbers become probabilities."""

    def __init__(self, body: dict[str, nn.Module], heads: dict[str, nn.Module]) -> None:
        super().__init__()
        self._body, self._heads = tuple(body), tuple(heads)
        for name, layer in (body | heads).items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        for layer in map(self.get_submodule, self._body):
            if isinstance(layer, nn.Linear) and x.ndim == MAP_RANK:
                x = x.permute(0, 3, 2, 1).flatten(1)
            x = layer(x)
        face, *rest = (self.get_submodule(name)(x) for name in self._heads)
        return (face.softmax(dim=1), *rest)


def _block(number: int, into: int, out: int, size: int, pool: int = 0) -> dict[str, nn.Module]:
    layers: dict[str, nn.Module] = {f"conv{number}": nn.Conv2d(into, out, size), f"prelu{number}": nn.PReLU(out)}
    return layers | ({f"pool{number}": nn.MaxPool2d(pool, 2, ceil_mode=True)} if pool else {})


def pnet() -> Stage:
    body = _block(1, 3, 10, 3, pool=2) | _block(2, 10, 16, 3) | _block(3, 16, 32, 3)
    return Stage(body, {"conv4_1": nn.Conv2d(32, 2, 1), "conv4_2": nn.Conv2d(32, 4, 1)})


def rnet() -> Stage:
    body = _block(1, 3, 28, 3, pool=3) | _block(2, 28, 48, 3, pool=3) | _block(3, 48, 64, 2)
    body |= {"dense4": nn.Linear(576, 128), "prelu4": nn.PReLU(128)}
    return Stage(body, {"dense5_1": nn.Linear(128, 2), "dense5_2": nn.Linear(128, 4)})


def onet() -> Stage:
    body = _block(1, 3, 32, 3, pool=3) | _block(2, 32, 64, 3, pool=3) | _block(3, 64, 64, 3, pool=2)
    body |= _block(4, 64, 128, 2) | {"dense5": nn.Linear(1152, 256), "prelu5": nn.PReLU(256)}
    sizes = {"dense6_1": 2, "dense6_2": 4, "dense6_3": 10}
    return Stage(body, {name: nn.Linear(256, size) for name, size in sizes.items()})


STAGES = {"pnet": (pnet, SCENE), "rnet": (rnet, (24, 24)), "onet": (onet, (48, 48))}


def write(name: str, folder: Path) -> None:
    make, size = STAGES[name]
    net = make()
    net.load_state_dict(weights(WEIGHTS, f"{name}.pt"))
    outputs = ["face", "box", "landmarks"][: len(net(torch.zeros(1, 3, *size)))]
    export(net, [torch.zeros(1, 3, *size)], folder / "model.onnx", outputs=outputs)
    save(folder, **(scenes() if name == "pnet" else faces(size[0])))


def faces(side: int) -> dict[str, dict[str, NDArray[np.float32] | NDArray[np.int64]]]:
    """100 faces and 100 patches without one, each also mirrored: x [N, 3, side, side], labels [N] (1: a face)."""
    patches = np.load(packaged(PICTURES, "lfw_subset.npy"))  # [200, 25, 25] of 0 to 1, the faces first
    images = np.stack([_prepared(Image.fromarray((255 * patch).astype(np.uint8)), (side, side)) for patch in patches])
    labels = (np.arange(len(images)) < len(images) // 2).astype(np.int64)
    calibrates = np.arange(len(images)) % (len(images) // 2) < CALIBRATION_OF_CLASS
    return {
        split: {"x": np.concatenate([images[rows], images[rows, :, :, ::-1]]), "labels": np.tile(labels[rows], 2)}
        for split, rows in (("calibration", calibrates), ("test", ~calibrates))
    }


def scenes() -> dict[str, dict[str, NDArray[np.float32]]]:
    """Cuts of photos, x [N, 3, 240, 320]; the first photos calibrate, the others test."""
    folder = packaged(PICTURES, "lfw_subset.npy").parent
    photos = [Image.open(folder / name).convert("RGB") for name in PHOTOS]
    parts = {"calibration": photos[::2], "test": photos[1::2]}
    return {
        split: {"x": np.stack([_cut(mine[number % len(mine)], number) for number in range(CUTS[split])])}
        for split, mine in parts.items()
    }


def _cut(photo: Image.Image, seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    share = random.uniform(0.5, 1)
    width, height = (int(share * side) for side in photo.size)
    left, top = (
        int(random.integers(total - part + 1)) for total, part in zip(photo.size, (width, height), strict=True)
    )
    return _prepared(photo.crop((left, top, left + width, top + height)), SCENE)


def _prepared(image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """[3, height, width] of about -1 to 1."""
    height, width = size
    pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return ((pixels - 127.5) / 128).transpose(2, 0, 1)


MODELS = {
    f"mtcnn_{name}": Published(
        task=f"faces, MTCNN's {name[0].upper()}-Net",
        inputs="cuts of photos" if name == "pnet" else "100 faces and 100 other patches, mirrored",
        packages=(WEIGHTS, PICTURES),
        write=partial(write, name),
    )
    for name in STAGES
}
