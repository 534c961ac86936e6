"""Reading images in class folders: decoded one by one into an array on disk, so memory does not grow with the file."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from whetstone.contract.preprocessing import Channels, Fit, Images, ImageType, Interpolation, Layout
from workers.engine.data.archive import MAX_BYTES, Array
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.folders import Entry, open_archive, places_of
from workers.engine.data.unpacked import Unpacked

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 100_000_000
DEEP = ("I", "F", "I;16", "I;16B", "I;16L")
RESAMPLING = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
}


def read_images(path: Path, folder: Path, how: Images) -> Unpacked:
    """Unpack every image into `folder`, preprocessed as declared. Raises InvalidDataset, naming the image."""
    with open_archive(path) as archive:
        places = places_of(archive.names())
        pixels = _allocate(folder / "images.npy", how, len(places.rows))
        for entry in archive.entries():
            if entry.name in places.rows:
                pixels[places.rows[entry.name]] = _sample(entry, how)
    pixels.flush()
    arrays: dict[str, Array] = {how.input: np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)}
    if places.labels is not None:
        arrays["labels"] = places.labels
    return Unpacked("images", arrays, places.splits, places.classes)


def _allocate(path: Path, how: Images, count: int) -> np.memmap[tuple[int, ...], np.dtype[np.generic]]:
    sample = (how.channels.number, how.height, how.width)
    shape = (count, *(sample if how.layout is Layout.CHW else (*sample[1:], sample[0])))
    size = int(np.prod(shape)) * np.dtype(how.dtype.value).itemsize
    told = f"{count} images of {how.height} × {how.width} as {how.dtype} take {size / 2**30:.1f} GiB unpacked"
    if size > MAX_BYTES:
        raise InvalidDataset(f"{told}; at most {MAX_BYTES / 2**30:.0f} GiB are read.")
    try:
        return np.lib.format.open_memmap(path, mode="w+", dtype=how.dtype.value, shape=shape)
    except OSError as error:
        raise InvalidDataset(f"{told}, which is more than a step may write.", hint=_SMALLER) from error


_SMALLER = "Declare uint8 samples if the model takes them, or upload fewer images."


def _sample(entry: Entry, how: Images) -> Array:
    with _reasons(entry.name), entry.open() as file:
        image = _fitted(_decoded(file, entry.name, how.channels), how)
    return _numbers(np.asarray(image), how)


@contextmanager
def _reasons(name: str) -> Iterator[None]:
    """Pillow raises many kinds of errors for a file that is no image, or breaks off."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which nothing here depends on
            yield
    except (InvalidDataset, MemoryError):
        raise
    except Exception as error:
        raise InvalidDataset(f"'{name}' cannot be read as an image: {error}", hint=_IMAGES) from error


_IMAGES = f"Images may be {', '.join(FORMATS)} of 8 bits a channel, in class folders in a .zip or .tar."


def _decoded(file: IO[bytes], name: str, channels: Channels) -> Image.Image:
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise InvalidDataset(f"'{name}' has {image.width} × {image.height} pixels; at most {MAX_PIXELS} are read.")
    if image.mode in DEEP:
        raise InvalidDataset(f"'{name}' has more than 8 bits a channel.", hint=_IMAGES)
    return image.convert("L" if channels is Channels.GRAY else "RGB")


def _fitted(image: Image.Image, how: Images) -> Image.Image:
    size, resampling = (how.width, how.height), RESAMPLING[how.interpolation]
    match how.fit:
        case Fit.STRETCH:
            return image.resize(size, resampling)
        case Fit.PAD:
            return ImageOps.pad(image, size, resampling)
        case Fit.CROP:
            return _cropped(image.resize(_covering(image, how), resampling), how)


def _covering(image: Image.Image, how: Images) -> tuple[int, int]:
    """Width and height with the shorter side at `resize`, or with which the wanted size is just covered."""
    if how.resize is not None:
        shorter = min(image.size)
        width, height = (int(how.resize * side / shorter) for side in image.size)
        return width, height
    ratio = max(how.width / image.width, how.height / image.height)
    return max(how.width, round(image.width * ratio)), max(how.height, round(image.height * ratio))


def _cropped(image: Image.Image, how: Images) -> Image.Image:
    left, top = round((image.width - how.width) / 2), round((image.height - how.height) / 2)
    return image.crop((left, top, left + how.width, top + how.height))


def _numbers(pixels: Array, how: Images) -> Array:
    """Of one image, (height, width[, 3]), as the model takes it."""
    found = pixels[..., None] if pixels.ndim == 2 else pixels  # noqa: PLR2004 - height and width
    found = found[..., ::-1] if how.channels is Channels.BGR else found
    if how.dtype is ImageType.FLOAT32:
        scale = np.float32(1 / 255 if how.scale is None else how.scale)
        mean, std = np.asarray(how.mean or (0.0,), np.float32), np.asarray(how.std or (1.0,), np.float32)
        found = (found.astype(np.float32) * scale - mean) / std
    return found.transpose(2, 0, 1) if how.layout is Layout.CHW else found
