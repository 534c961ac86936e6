"""A model that someone else trained: is a page upside down?

The network (MobileNetV2, one logit) comes from the package `docorient` (MIT); only its .onnx file is used, none of
its code. The pages are set here: English prose that scikit-learn ships (BSD), in fonts that matplotlib ships, at
random sizes and margins, skewed, blurred and noisy like scans, every second one turned. So the labels are certain,
and no page of the test split has text of the calibration split.

    python -m examples.published FOLDER      writes FOLDER/orientation.onnx and FOLDER/pages.npz
"""

import shutil
import sys
import textwrap
from pathlib import Path

import matplotlib as mpl
import numpy as np
import sklearn.datasets
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from examples.packages import packaged

PACKAGE = "docorient"
FILE = "orientation_detector.onnx"
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Bold", "DejaVuSerif-Italic", "STIXGeneral")
PAGES = {"calibration": 128, "test": 500}
LETTER_WIDTH = 0.55  # of a letter, as a share of the font's size
SIDE, CROP = 256, 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the network was trained

Picture = NDArray[np.float32]


def write(folder: Path) -> tuple[Path, Path]:
    """Copy the model and draw the pages; returns the paths of both files."""
    folder.mkdir(parents=True, exist_ok=True)
    model, dataset = folder / "orientation.onnx", folder / "pages.npz"
    shutil.copyfile(packaged(PACKAGE, FILE), model)
    if not dataset.exists():
        arrays = {}
        for number, (split, count) in enumerate(PAGES.items()):
            images, labels = pages(count, prose(number), seed=number)
            arrays |= {f"{split}/image": images, f"{split}/labels": labels}
        np.savez(dataset, **arrays)
    return model, dataset


def prose(part: int) -> str:
    """Every second description of scikit-learn's data sets, from file number `part` on, as running text."""
    folder = Path(sklearn.datasets.__file__).parent / "descr"
    text = " ".join(path.read_text() for path in sorted(folder.glob("*.rst"))[part::2])
    return " ".join(word for word in text.split() if any(letter.isalpha() for letter in word))


def pages(count: int, text: str, seed: int) -> tuple[Picture, NDArray[np.int64]]:
    """Pages [count, 3, 224, 224] as the network takes them, and which are upside down [count]."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = np.stack([prepared(page(random, text).rotate(180 * int(label))) for label in labels])
    return images, labels.astype(np.int64)


def page(random: np.random.Generator, text: str) -> Image.Image:
    """One page of running text, as a scanner might have seen it."""
    width, height = (int(side) for side in random.integers(420, 640, 2))
    image = Image.new("RGB", (width, height), tuple(int(shade) for shade in random.integers(225, 256, 3)))
    size = int(random.integers(12, 20))
    font = ImageFont.truetype(str(font_folder() / f"{random.choice(FONTS)}.ttf"), size)
    margin = int(random.integers(12, 45))
    start = int(random.integers(len(text) // 2))
    lines = textwrap.wrap(text[start : start + 4000], width=int((width - 2 * margin) / (size * LETTER_WIDTH)))
    draw = ImageDraw.Draw(image)
    ink = tuple(int(shade) for shade in random.integers(0, 110, 3))
    for line, top in zip(lines, range(margin, height - margin - size, int(size * 1.4)), strict=False):
        draw.text((margin, top), line, font=font, fill=ink)
    skewed = image.rotate(
        float(random.normal(0, 1)), resample=Image.Resampling.BICUBIC, fillcolor=image.getpixel((1, 1))
    )
    blurred = skewed.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 1))))
    noisy = np.asarray(blurred, np.float32) + random.normal(0, random.uniform(0, 10), (height, width, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def font_folder() -> Path:
    return Path(mpl.get_data_path()) / "fonts" / "ttf"


def prepared(image: Image.Image) -> Picture:
    """Squeezed to 256×256, the middle 224×224, normalized, channels first: [3, 224, 224]."""
    margin = (SIDE - CROP) // 2
    small = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).crop((margin, margin, margin + CROP, margin + CROP))
    pixels = np.asarray(small, np.float32) / 255
    return ((pixels - np.float32(MEAN)) / np.float32(DEVIATION)).transpose(2, 0, 1)


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])))
