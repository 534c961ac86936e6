"""Making new samples of those there are: what `finetune` can do to a batch before it learns from it.

Every augmentation names the input it changes (`input`; not needed where the model has only one) and is drawn anew
for each batch from the seed of the learning. `probability` is that of each sample.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.types import Contract, Fraction, TensorName

Probability = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1000)]


class _Augmentation(Contract):
    input: TensorName | None = None


class Flip(_Augmentation):
    """Mirror images [N, C, H, W] left to right, or upside down."""

    kind: Literal["flip"] = "flip"
    direction: Literal["horizontal", "vertical"] = "horizontal"
    probability: Probability = 0.5


class Crop(_Augmentation):
    """Cut out a part of an image [N, C, H, W], of `scale` of its area or more, and enlarge it to the old size."""

    kind: Literal["crop"] = "crop"
    scale: Annotated[float, Field(gt=0, lt=1)] = 0.7
    probability: Probability = 1.0


class Rotate(_Augmentation):
    """Turn images [N, C, H, W] by up to `degrees` either way; corners are filled with 0."""

    kind: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(gt=0, le=180)] = 10.0
    probability: Probability = 1.0


class Colour(_Augmentation):
    """Change brightness and contrast of images [N, C, H, W] by these shares, for RGB also saturation and hue.

    `low` and `high` are the values of black and white; hue is in turns of the colour circle.
    """

    kind: Literal["colour"] = "colour"
    brightness: Fraction = 0.2
    contrast: Fraction = 0.2
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    low: float = 0.0
    high: float = 1.0
    probability: Probability = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"high ({self.high}) must be above low ({self.low})")
        return self


class Erase(_Augmentation):
    """Set a rectangle of up to `scale` of an image's area [N, C, H, W] to `fill` (Zhong et al. 2020)."""

    kind: Literal["erase"] = "erase"
    scale: Annotated[float, Field(gt=0.02, lt=1)] = 0.2
    fill: float = 0.0
    probability: Probability = 0.5


class Mixup(Contract):
    """Blend each sample, and its label, with another; the share is drawn from Beta(α, α) per batch (Zhang et al. 2018).

    Blends every input, so all must be floating point.
    """

    kind: Literal["mixup"] = "mixup"
    alpha: Positive = 0.2


class Cutmix(_Augmentation):
    """Put a rectangle of another image [N, C, H, W] into each; labels mix by area (Yun et al. 2019).

    The area is drawn from Beta(α, α) per batch. The model may have no other input.
    """

    kind: Literal["cutmix"] = "cutmix"
    alpha: Positive = 1.0


class Gain(_Augmentation):
    """Make sound [N, T] or [N, C, T] louder or softer, by up to `decibels` either way."""

    kind: Literal["gain"] = "gain"
    decibels: Annotated[float, Field(gt=0, le=60)] = 6.0
    probability: Probability = 1.0


class Noise(_Augmentation):
    """Add white noise to sound [N, T] or [N, C, T]; its distance to the signal is drawn from this range in dB."""

    kind: Literal["noise"] = "noise"
    quietest_db: Annotated[float, Field(ge=-20, le=120)] = 40.0
    loudest_db: Annotated[float, Field(ge=-20, le=120)] = 15.0
    probability: Probability = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.loudest_db > self.quietest_db:
            raise ValueError(f"loudest_db ({self.loudest_db}) must not be above quietest_db ({self.quietest_db})")
        return self


class Shift(_Augmentation):
    """Move sound [N, T] or [N, C, T] by up to `share` of its length either way; what is left open is silent."""

    kind: Literal["shift"] = "shift"
    share: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    probability: Probability = 1.0


class SpecAugment(_Augmentation):
    """Cover bands of a spectrogram [N, F, T] or [N, C, F, T] with `fill` (Park et al. 2019, without time warping).

    Each band is up to `frequency_share` or `time_share` of its axis wide.
    """

    kind: Literal["spec_augment"] = "spec_augment"
    frequency_bands: Annotated[int, Field(ge=0, le=10)] = 1
    frequency_share: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    time_bands: Annotated[int, Field(ge=0, le=10)] = 1
    time_share: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    fill: float = 0.0


class TabularNoise(_Augmentation):
    """Add normal noise to the columns of a table [N, F], of `deviation` times each column's spread in the batch."""

    kind: Literal["tabular_noise"] = "tabular_noise"
    deviation: Annotated[float, Field(gt=0, le=1)] = 0.05


class FeatureDrop(_Augmentation):
    """Set single values of a table [N, F] to `fill`, each with this probability."""

    kind: Literal["feature_drop"] = "feature_drop"
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.1
    fill: float = 0.0


ImageAugmentation = Flip | Crop | Rotate | Colour | Erase
SignalAugmentation = Gain | Noise | Shift | SpecAugment
TableAugmentation = TabularNoise | FeatureDrop
MixingAugmentation = Mixup | Cutmix

Augmentation = Annotated[
    ImageAugmentation | SignalAugmentation | TableAugmentation | MixingAugmentation, Field(discriminator="kind")
]
