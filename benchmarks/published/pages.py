"""Networks that look at printed text: docorient's page orientation, and RapidOCR's three (PaddleOCR v4, Apache-2.0)."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.published.published import Published, save
from examples import published as orientation
from examples.packages import packaged
from examples.published import FONTS, font_folder, page, prose

OCR = "rapidocr-onnxruntime"
LINES = {"calibration": 96, "test": 240}
PAGES = {"calibration": 24, "test": 40}
PAGE_SIDE = 480
LINE_HEIGHT = 48
Pictures = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def write_orientation(folder: Path) -> None:
    for made, name in zip(orientation.write(folder), ("model.onnx", "data.npz"), strict=True):
        made.rename(folder / name)


def write_ocr(ending: str, sample: Callable[[int, int], Pictures], counts: dict[str, int], folder: Path) -> None:
    shutil.copyfile(packaged(OCR, ending), folder / "model.onnx")
    save(folder, **{split: sample(count, part) for part, (split, count) in enumerate(counts.items())})


def pages(count: int, part: int) -> Pictures:
    """Whole pages, x [N, 3, 480, 480]."""
    random, text = np.random.default_rng(part), prose(part)
    return {"x": np.stack([prepared(page(random, text).resize((PAGE_SIDE, PAGE_SIDE))) for _ in range(count)])}


def lines(count: int, part: int) -> Pictures:
    """Single lines, x [N, 3, 48, 320]."""
    random, text = np.random.default_rng(part), prose(part)
    return {"x": np.stack([prepared(line(random, text, 320)) for _ in range(count)])}


def turned_lines(count: int, part: int) -> Pictures:
    """Single lines, every second one upside down: x [N, 3, 48, 192], labels [N] (1: turned)."""
    random, text = np.random.default_rng(part), prose(part)
    labels = np.arange(count, dtype=np.int64) % 2
    return {
        "x": np.stack([prepared(line(random, text, 192).rotate(180 * int(turned))) for turned in labels]),
        "labels": labels,
    }


def line(random: np.random.Generator, text: str, width: int) -> Image.Image:
    """A few words in a random font, as a scanner might have seen them."""
    paper, ink = (tuple(int(s) for s in random.integers(low, high, 3)) for low, high in ((200, 256), (0, 110)))
    image = Image.new("RGB", (width, LINE_HEIGHT), paper)
    font = ImageFont.truetype(str(font_folder() / f"{random.choice(FONTS)}.ttf"), int(random.integers(20, 32)))
    start = text.find(" ", int(random.integers(len(text) - 1000))) + 1
    ImageDraw.Draw(image).text((8, int(random.integers(2, 12))), text[start : start + 60], font=font, fill=ink)
    blurred = image.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 1))))
    noisy = np.asarray(blurred, np.float32) + random.normal(0, random.uniform(0, 10), (LINE_HEIGHT, width, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def prepared(image: Image.Image) -> NDArray[np.float32]:
    """[3, height, width] of -1 to 1, blue first."""
    pixels = np.asarray(image, np.float32)[:, :, ::-1] / 255
    return ((pixels - 0.5) / 0.5).transpose(2, 0, 1)


MODELS = {
    "docorient": Published(
        task="is a page upside down? MobileNetV2",
        inputs="pages set here",
        packages=(orientation.PACKAGE,),
        write=write_orientation,
    ),
    "rapidocr_det": Published(
        task="where is text on a page?",
        inputs="pages set here",
        packages=(OCR,),
        write=partial(write_ocr, "det_infer.onnx", pages, PAGES),
    ),
    "rapidocr_rec": Published(
        task="reading a line of text: 6625 glyphs",
        inputs="lines set here",
        packages=(OCR,),
        write=partial(write_ocr, "rec_infer.onnx", lines, LINES),
    ),
    "rapidocr_cls": Published(
        task="is a line upside down?",
        inputs="lines set here",
        packages=(OCR,),
        write=partial(write_ocr, "cls_infer.onnx", turned_lines, LINES),
    ),
}
