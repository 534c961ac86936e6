"""What is known of a domain before a model of it is looked at: it tells a search where to begin, and how to judge."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from whetstone.contract.augmentation import (
    Augmentation,
    Crop,
    Erase,
    Gain,
    Noise,
    Shift,
    SpecAugment,
    TabularNoise,
)
from whetstone.contract.metrics import Metric
from whetstone.contract.quantization import Calibrator
from whetstone.contract.types import Contract


class Domain(StrEnum):
    """What a model is about. `tabular` are rows of numbers and ids, as of recommenders."""

    IMAGE = "image"
    TEXT = "text"
    AUDIO = "audio"
    TABULAR = "tabular"
    GENERAL = "general"


class Family(StrEnum):
    """Kinds of candidates that a search tries. `static` and `dynamic` are int8, `storage` only makes files smaller."""

    STATIC = "static"
    DYNAMIC = "dynamic"
    STORAGE = "storage"
    CHANNELS = "channels"
    HEADS = "heads"
    FACTORS = "factors"


Families = Annotated[tuple[Family, ...], Field(max_length=len(Family))]
Augmentations = Annotated[tuple[Augmentation, ...], Field(max_length=20)]


class Preset(Contract):
    """What a search and the judgement of its results go by.

    `metric` None is what labels and outputs suggest. `calibrator` is that of the first static candidates, `augment`
    what candidates that learn do to their samples; of a recipe neither is changed. Families in `first` are tried before
    others where there is a choice, those in `without` not at all.
    """

    domain: Domain
    metric: Metric | None = None
    calibrator: Calibrator = Calibrator.MINMAX
    augment: Augmentations = ()
    first: Families = ()
    without: Families = ()


class CustomPreset(Contract):
    """A domain's preset with fields of one's own. Without `domain` it is guessed as if nothing were said."""

    domain: Domain | None = None
    metric: Metric | None = None
    calibrator: Calibrator | None = None
    augment: Augmentations | None = None
    first: Families | None = None
    without: Families | None = None


GENERAL = Preset(domain=Domain.GENERAL)

PRESETS: dict[Domain, Preset] = {
    preset.domain: preset
    for preset in (
        GENERAL,
        Preset(
            # int8 with ranges found at run time slows every convolution; where there are none it is quick.
            domain=Domain.IMAGE,
            augment=(Crop(scale=0.8), Erase(scale=0.1)),
            first=(Family.STATIC,),
        ),
        Preset(
            # A few activations of encoders are far larger than all others, and ranges that hold them are too coarse:
            # of BERT, 99.99% kept more than all (Wu et al. 2020, Integer Quantization for Deep Learning Inference).
            domain=Domain.TEXT,
            calibrator=Calibrator.PERCENTILE,
            first=(Family.DYNAMIC,),
        ),
        Preset(
            # Peaks are rare and of no meaning.
            domain=Domain.AUDIO,
            calibrator=Calibrator.PERCENTILE,
            augment=(Gain(), Noise(), Shift(), SpecAugment()),
            first=(Family.STATIC,),
        ),
        Preset(
            # Columns have long tails. What counts is the order of the scores, where clicks are told.
            domain=Domain.TABULAR,
            metric=Metric.AUC,
            calibrator=Calibrator.PERCENTILE,
            augment=(TabularNoise(deviation=0.02),),
            first=(Family.DYNAMIC,),
            without=(Family.HEADS,),
        ),
    )
}
"""The data. `metric` and `augment` of a domain count where they fit the model."""
