"""Samples as people see them: images as small pictures, all else as the first of its values."""

import base64
import io
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from whetstone.contract.insights import Picture, WorstSample
from workers.engine.measure.feed import Feed
from workers.engine.measure.opinions import Debate
from workers.engine.measure.statistics import Floats
from workers.engine.targets.runtime import Array

WORST = 12
PIXELS = 64
"""The most to either side."""

SMALLEST_IMAGE = 8
COLOURS = (1, 3)
IMAGE_RANK = 3
VALUES = 24
WHITE = 255


def worst_samples(debate: Debate, feed: Feed) -> tuple[WorstSample, ...]:
    """At most `WORST` samples, the worst first; none where inputs are random."""
    places = debate.worst(WORST)
    if feed.samples is None or not len(places):
        return ()
    shown = _shown(feed.at(places))
    return tuple(
        WorstSample(
            place=int(place),
            label=None if debate.labels is None else int(debate.labels[place]),
            original=int(debate.original.decided[place]),
            result=int(debate.result.decided[place]),
            before=float(debate.original.expected[place]),
            after=float(debate.result.expected[place]),
            picture=picture,
            values=values,
        )
        for place, (picture, values) in zip(places, shown, strict=True)
    )


def _shown(inputs: Mapping[str, Array]) -> Iterator[tuple[Picture | None, dict[str, str]]]:
    """Each sample: the first input that is an image as a picture, the others as values."""
    count = len(next(iter(inputs.values())))
    seen = next((name for name, stacked in inputs.items() if is_image(stacked)), None)
    pictures = list(pictures_of(inputs[seen])) if seen is not None else [None] * count
    for place, picture in enumerate(pictures):
        yield picture, {name: _values(stacked[place]) for name, stacked in inputs.items() if name != seen}


def is_image(stacked: Array) -> bool:
    """Whether stacked samples look like images: [N, C, H, W] or [N, H, W, C] of one or three colours."""
    shape = stacked.shape[1:]
    if len(shape) != IMAGE_RANK or stacked.dtype.kind not in "fu":
        return False
    first = shape[0] in COLOURS
    return (first or shape[-1] in COLOURS) and min(shape[1:] if first else shape[:-1]) >= SMALLEST_IMAGE


def pictures_of(stacked: Array) -> Iterator[Picture]:
    """Of images, shape [N, C, H, W] or [N, H, W, C], all on one scale of brightness.

    How they were normalized is not known: unless their values are bytes or from 0 to 1, the smallest of all becomes
    black, the largest white.
    """
    upright = colours_last(stacked)
    low, high = (0, WHITE) if stacked.dtype == np.uint8 else _range(upright)
    for image in upright:
        levels = np.clip((image - low) * (WHITE / (high - low or 1)), 0, WHITE).astype(np.uint8)
        yield drawn(levels)


def drawn(levels: Array) -> Picture:
    """Of bytes, shape [H, W, 1 or 3]; larger ones are shrunk."""
    picture = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    picture.thumbnail((PIXELS, PIXELS))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return Picture(png=base64.b64encode(file.getvalue()).decode(), width=picture.width, height=picture.height)


def colours_last(stacked: Array) -> Floats:
    """Images of either layout as [N, H, W, C]."""
    floats = stacked.astype(np.float64)
    return np.moveaxis(floats, 1, -1) if stacked.shape[1] in COLOURS else floats


def _range(upright: Floats) -> tuple[float, float]:
    low, high = float(upright.min()), float(upright.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _values(sample: Array) -> str:
    flat = sample.reshape(-1)
    told = ", ".join(f"{value:.4g}" if flat.dtype.kind == "f" else f"{value}" for value in flat[:VALUES])
    return told if flat.size <= VALUES else f"{told}, … ({flat.size} in all)"
