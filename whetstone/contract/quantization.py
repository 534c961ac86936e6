"""In how many bits: `quantize`, its calibrators, and what may stay in float."""

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from whetstone.contract.types import Contract, LayerNames


class Precision(StrEnum):
    """What weights are stored in. `int8` also computes in integers, unless activations are `none`."""

    INT8 = "int8"
    INT4 = "int4"
    FP16 = "fp16"


class Activations(StrEnum):
    """When the range of an activation is found: at run time, before from calibration data, or never: then only the
    weights are integers, and are turned to floats again where they are used.
    """

    DYNAMIC = "dynamic"
    STATIC = "static"
    NONE = "none"


class ActivationType(StrEnum):
    """The integer type of static activations. uint8 is the quicker one on CPUs, int8 what NVIDIA's parser takes."""

    UINT8 = "uint8"
    INT8 = "int8"


class Calibrator(StrEnum):
    """How the range of a static activation is chosen from what calibration samples show.

    `minmax`: all of it. `moving_average`: the average of each batch's range, newer ones counting more. `percentile`:
    all but the rarest values. `entropy`: the range whose quantized distribution is closest to the true one by
    Kullback-Leibler divergence (Migacz, 8-bit inference with TensorRT, GTC 2017). `mse`: the range with the least
    expected squared error.
    """

    MINMAX = "minmax"
    MOVING_AVERAGE = "moving_average"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    MSE = "mse"


class Partial(Contract):
    """Leave as few layers in float as it takes to lose at most `max_drop`.

    Layers are ranked by the error that each alone brings to the outputs; how many of them stay in float is found by
    bisection, in at most `max_trials` trials. The drop is measured on the calibration split: points of accuracy where
    it has labels, else points of agreement with the original, else percent of cosine similarity.
    """

    max_drop: Annotated[float, Field(ge=0, le=100)] = 0.5
    max_trials: Annotated[int, Field(ge=1, le=50)] = 8


class Quantize(Contract):
    """Fewer bits for weights and activations.

    Activations are `static` for `int8` unless told otherwise, and always `none` for the others. `static` inserts
    QuantizeLinear/DequantizeLinear pairs with ranges from the calibration split (or from the train split where there is
    none); `percentile` is 99.99 unless told otherwise. `dynamic` needs no data. `int4`, and `int8` with activations
    `none`, store the weights of matrix products in blocks of `block_size`, each with a scale. `fp16` halves the file;
    what would overflow stays in float32. Layers whose name, op or pattern (a regular expression that must match the
    whole name) is excluded stay as they are.
    """

    kind: Literal["quantize"] = "quantize"
    precision: Precision = Precision.INT8
    activations: Activations | None = None
    activation_type: ActivationType = ActivationType.UINT8
    per_channel: bool = True
    calibrator: Calibrator = Calibrator.MINMAX
    percentile: Annotated[float, Field(gt=90, lt=100)] | None = None
    calibration_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    block_size: Literal[16, 32, 64, 128, 256] = 32
    partial: Partial | None = None
    exclude: LayerNames = ()
    exclude_ops: Annotated[tuple[Annotated[str, StringConstraints(pattern=r"^\w+$")], ...], Field(max_length=100)] = ()
    exclude_patterns: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...], Field(max_length=100)
    ] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.precision is not Precision.INT8 and self.activations not in (None, Activations.NONE):
            raise ValueError(f"{self.precision} weights go with activations 'none'")
        static = self.precision is Precision.INT8 and self.activations in (None, Activations.STATIC)
        if self.partial is not None and not static:
            raise ValueError("partial goes with int8 and static activations")
        for pattern in self.exclude_patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"exclude_patterns: {pattern!r} is no regular expression: {error}") from error
        if self.percentile is not None and self.calibrator is not Calibrator.PERCENTILE:
            raise ValueError("percentile goes with calibrator 'percentile'")
        return self
