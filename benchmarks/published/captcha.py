"""Two networks of ddddocr (MIT): reading a captcha, and finding the glyphs drawn on a photo.

The captchas come from the package `captcha`, the photos from scikit-image.
"""

import random as chance
import shutil
import string
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.published.published import Published, save
from examples.packages import packaged
from examples.published import font_folder

NETWORKS, CAPTCHAS, PHOTOS = "ddddocr", "captcha", "scikit-image"
LETTERS = string.ascii_letters + string.digits
LENGTHS = (4, 6)
READ = {"calibration": 64, "test": 160}
HEIGHT, WIDTH = 64, 168

FOUND = {"calibration": 32, "test": 48}
SIDE, GREY = 416, 114
GLYPHS, GLYPH_SIZES = (3, 7), (36, 64)
SCENES = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png", "rocket.jpg")


class Dice(chance.Random):
    """What `captcha` takes of `secrets`, but repeatable."""

    def randbelow(self, end: int) -> int:
        return self.randrange(end)

    def randbits(self, count: int) -> int:
        return self.getrandbits(count)


def write_reader(folder: Path) -> None:
    shutil.copyfile(packaged(NETWORKS, "common.onnx"), folder / "model.onnx")
    save(folder, **{split: {"input1": captchas(count, split)} for split, count in READ.items()})


def captchas(count: int, seed: str) -> NDArray[np.float32]:
    """[N, 1, 64, 168] of 0 to 1, four to six letters each."""
    from captcha.image import ImageCaptcha  # noqa: PLC0415 - of the benchmarks' own packages

    dice, maker = Dice(seed), ImageCaptcha(WIDTH, HEIGHT)
    with patch("captcha.image.secrets", dice):
        texts = ["".join(dice.choices(LETTERS, k=dice.randint(*LENGTHS))) for _ in range(count)]
        images = [maker.generate_image(text).convert("L").resize((WIDTH, HEIGHT)) for text in texts]
    return np.stack([np.asarray(image, np.float32)[None] / 255 for image in images])


def write_finder(folder: Path) -> None:
    shutil.copyfile(packaged(NETWORKS, "common_det.onnx"), folder / "model.onnx")
    photos = [packaged(PHOTOS, name) for name in SCENES]
    parts = {"calibration": photos[::2], "test": photos[1::2]}
    save(folder, **{split: {"images": scenes(paths, FOUND[split])} for split, paths in parts.items()})


def scenes(photos: list[Path], count: int) -> NDArray[np.float32]:
    """[N, 3, 416, 416], blue first, 0 to 255: photos with a grey margin, and a few glyphs on each."""
    random = np.random.default_rng(count)
    return np.stack([scene(Image.open(photos[number % len(photos)]), random) for number in range(count)])


def scene(photo: Image.Image, random: np.random.Generator) -> NDArray[np.float32]:
    image = photo.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    draw, (width, height) = ImageDraw.Draw(image), image.size
    for _ in range(random.integers(*GLYPHS)):
        size = int(random.integers(*GLYPH_SIZES))
        font = ImageFont.truetype(str(font_folder() / "DejaVuSans-Bold.ttf"), size)
        place = int(random.integers(width - size)), int(random.integers(height - size))
        ink = tuple(int(shade) for shade in random.integers(0, 256, 3))
        draw.text(place, str(random.choice(list(LETTERS))), font=font, fill=ink)
    canvas = Image.new("RGB", (SIDE, SIDE), (GREY, GREY, GREY))
    canvas.paste(image)
    return np.asarray(canvas, np.float32)[:, :, ::-1].transpose(2, 0, 1)


MODELS = {
    "ddddocr_common": Published(
        task="reading captchas: convolutions, LSTM, CTC",
        inputs="captchas of 4 to 6 letters",
        packages=(NETWORKS, CAPTCHAS),
        write=write_reader,
    ),
    "ddddocr_det": Published(
        task="finding glyphs: YOLOX",
        inputs="letters drawn on photos",
        packages=(NETWORKS, PHOTOS),
        write=write_finder,
    ),
}
