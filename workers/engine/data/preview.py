"""A look into a dataset: a few rows, pictures and waveforms of it, and how often each label occurs."""

import base64
import io
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PIL import Image

from whetstone.contract.datasets import Split
from whetstone.contract.previews import (
    FIELDS,
    LABELS,
    PICTURE_SIDE,
    PICTURES,
    POINTS,
    ROWS,
    TEXT,
    DatasetPreview,
    Envelope,
    LabelCount,
    Picture,
    PreviewRow,
)
from workers.engine.data.archive import Array
from workers.engine.data.samples import Sample, Samples

CUT = "…"
FEWEST_PIXELS = 8
FEWEST_POINTS = 256
CHANNELS = (1, 3)
MOST_ELEMENTS = 64 * 2**20
"""A sample of more numbers than this is neither drawn nor written out."""


def preview_of(samples: Samples) -> DatasetPreview:
    """Everything in it is bounded, whatever the dataset holds."""
    first = [sample for sample in samples.first(PICTURES) if _is_small(sample)]
    labels = label_counts(samples)
    return DatasetPreview(
        splits=samples.facts().splits,
        rows=tuple(_row(samples, sample) for sample in first[:ROWS]),
        pictures=tuple(_pictures(samples, first))[:PICTURES],
        envelopes=tuple(_envelopes(samples, first))[:ROWS],
        labels=labels[:LABELS],
        more_labels=max(0, len(labels) - LABELS),
    )


def shown(text: str) -> str:
    """Safe to print: what is no printable character is escaped, and what is too long cut."""
    safe = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[:TEXT])
    return safe if len(text) <= TEXT and len(safe) <= TEXT else safe[: TEXT - 1] + CUT


def _is_small(sample: Sample) -> bool:
    return all(array.size <= MOST_ELEMENTS for array in sample.fields.values())


def _row(samples: Samples, sample: Sample) -> PreviewRow:
    told = samples.texts[sample.row] if sample.row < len(samples.texts) else {}
    cells = told | {name: _written(array) for name, array in sample.fields.items()}
    return PreviewRow(
        row=sample.row,
        split=sample.split,
        cells={shown(name): shown(text) for name, text in list(cells.items())[:FIELDS]},
        label=_label(samples, sample),
    )


def _written(array: Array) -> str:
    return np.array2string(array, threshold=16, edgeitems=4, precision=4, separator=", ", max_line_width=TEXT)


def _label(samples: Samples, sample: Sample) -> str | None:
    """The name of a class, or the number; None where there is none, or more than one."""
    if sample.label is None or sample.label.size != 1:
        return None
    value = sample.label.reshape(-1)[0]
    name = _name(samples, int(value)) if sample.label.dtype.kind in "iu" else None
    return shown(f"{value:g}") if name is None else name


def _name(samples: Samples, label: int) -> str | None:
    return shown(samples.class_names[label]) if label < len(samples.class_names) else None


def label_counts(samples: Samples) -> tuple[LabelCount, ...]:
    """Of class ids, the commonest first; every label is looked at."""
    by_split = {split: _counted(samples, split) for split in Split if samples.has_class_ids(split)}
    total = Counter[int]()
    for counts in by_split.values():
        total.update(counts)
    return tuple(
        LabelCount(
            label=label,
            name=_name(samples, label),
            counts={split: counts[label] for split, counts in by_split.items() if counts[label]},
        )
        for label, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))
    )


def _counted(samples: Samples, split: Split) -> Counter[int]:
    labels, counts = np.unique(samples.labels(split), return_counts=True)
    return Counter(dict(zip(labels.tolist(), counts.tolist(), strict=True)))


def _pictures(samples: Samples, first: list[Sample]) -> Iterator[Picture]:
    for sample in first:
        for name, array in sample.fields.items():
            pixels = _as_pixels(array)
            if pixels is not None:
                label = _label(samples, sample)
                yield Picture(row=sample.row, split=sample.split, field=shown(name), label=label, png=_png(pixels))


def _as_pixels(array: Array) -> Array | None:
    """(height, width[, 3]) of a sample that can be a picture, or a spectrogram; None of others."""
    if array.ndim == 3 and array.shape[0] in CHANNELS:  # noqa: PLR2004 - channels, height, width
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:  # noqa: PLR2004 - as above
        array = array[..., 0]
    is_gray, is_color = array.ndim == 2, array.ndim == 3 and array.shape[2] == 3  # noqa: PLR2004 - as above
    return array if (is_gray or is_color) and min(array.shape[:2]) >= FEWEST_PIXELS else None


def _png(pixels: Array) -> str:
    """Thinned out to few pixels before anything is computed; stretched from black to white unless it is bytes."""
    step = max(1, max(pixels.shape[:2]) // (4 * PICTURE_SIDE))
    few = pixels[::step, ::step]
    if few.dtype != np.uint8:
        values = few.astype(np.float64)
        low, high = values.min(), values.max()
        few = np.rint((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(few))
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def _envelopes(samples: Samples, first: list[Sample]) -> Iterator[Envelope]:
    for sample in first:
        for name, array in sample.fields.items():
            if array.dtype.kind != "f" or array.size < FEWEST_POINTS or array.size != max(array.shape):
                continue
            pieces = np.array_split(array.reshape(-1).astype(np.float64), POINTS)
            yield Envelope(
                row=sample.row,
                split=sample.split,
                field=shown(name),
                label=_label(samples, sample),
                low=tuple(round(float(piece.min()), 4) for piece in pieces),
                high=tuple(round(float(piece.max()), 4) for piece in pieces),
            )
