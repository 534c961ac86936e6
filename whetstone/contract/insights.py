"""What helps to understand how a result differs from its original; none of it counts for the verdict."""

from typing import Annotated

from pydantic import Field

from whetstone.contract.types import Contract, Count, Fraction


class Picture(Contract):
    """A small PNG, in base64; the size is in pixels."""

    png: Annotated[str, Field(max_length=2**17, pattern=r"^[A-Za-z0-9+/]+=*$")]
    width: Annotated[int, Field(ge=1, le=256)]
    height: Annotated[int, Field(ge=1, le=256)]


class WorstSample(Contract):
    """A sample of which the result decides otherwise than the original, and wrongly where there is a label.

    `place` is that in the test split, from 0. `before` and `after` are the probabilities that original and result give
    the label or, without labels, what the original decided. Inputs are shown as a picture where they are one, and else
    as the first of their values, by input name.
    """

    place: Count
    label: int | None
    original: int
    result: int
    before: Fraction
    after: Fraction
    picture: Picture | None = None
    values: dict[str, str] = {}


class SaliencyMaps(Contract):
    """An image, and how much each of its pixels counts for the decision of either side: the brighter, the more."""

    image: Picture
    original: Picture
    result: Picture


class Saliency(Contract):
    """Whether both sides look at the same pixels: |gradient × input| of the class that the original decides on, by the
    graphs before conversion.

    `rank_correlation` is Spearman's between the two maps of a sample, `overlap` the share of the most salient tenth of
    the pixels that both have in common (a tenth by chance); both are means over the samples. `missing` says why there
    is nothing to compare.
    """

    samples: Count
    rank_correlation: Annotated[float, Field(ge=-1, le=1)] | None = None
    overlap: Fraction | None = None
    shown: Annotated[tuple[SaliencyMaps, ...], Field(max_length=8)] = ()
    missing: str | None = None


class CalibrationBin(Contract):
    """Samples that were decided with about the same confidence: its mean, and the share of them that is right."""

    samples: Count
    confidence: Fraction
    accuracy: Fraction


class Reliability(Contract):
    """How far the confidence of one side can be believed; bins without samples are left out.

    `error` is the expected calibration error, the mean distance between confidence and accuracy of the bins, weighted
    by their samples (Guo et al. 2017, equation 3).
    """

    error: Fraction
    bins: tuple[CalibrationBin, ...]


class Calibration(Contract):
    """Both sides' confidence in their decisions against how often these are right, on labelled samples."""

    samples: Count
    original: Reliability
    result: Reliability


class LayerNoise(Contract):
    """How far a pass has moved the output of a layer on a few samples: signal to noise in dB, None if it has not.

    The signal is what the layer gave before the pass, so what earlier passes did does not count.
    """

    name: str
    sqnr_db: float | None


class Importance(Contract):
    """What pruning thought of a layer's channels (or heads): their scores by its criterion, in falling order.

    Of more than 64 there are as many quantiles; `units` counts all, `cut` those that went.
    """

    name: str
    units: Count
    cut: Count
    kept_scores: Annotated[tuple[float, ...], Field(max_length=64)]
    cut_scores: Annotated[tuple[float, ...], Field(max_length=64)]
