"""In how many bits: `quantize`, its calibrators, and what may stay in float."""

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from whetstone.contract.metrics import Metric
from whetstone.contract.types import Contract, LayerNames


class Precision(StrEnum):
    """What weights are stored in. `int8` also computes in integers, unless activations are `none`.

    `fp16` computes in float16 as well. `bf16` stores weights in bfloat16, half a file with the range of float32, and
    computes in float32: onnxruntime's CPU has no bfloat16 kernels for convolutions and products.
    """

    INT8 = "int8"
    INT4 = "int4"
    FP16 = "fp16"
    BF16 = "bf16"


class Activations(StrEnum):
    """When the range of an activation is found: at run time, before from calibration data, or never: then only the
    weights are integers, and are turned to floats again where they are used.
    """

    DYNAMIC = "dynamic"
    STATIC = "static"
    NONE = "none"


class ActivationType(StrEnum):
    """The integer type of static activations. uint8 is the quicker one for convolutions on CPUs."""

    UINT8 = "uint8"
    INT8 = "int8"


class Form(StrEnum):
    """How static quantization is written down.

    `standard`: every operator with an integer form, biases in int32: what CPUs are quick with. `nvidia`: what the
    parsers of TensorRT and TensorRT-RTX take: symmetric int8, biases in float, only Conv, ConvTranspose, Gemm, MatMul.
    """

    STANDARD = "standard"
    NVIDIA = "nvidia"


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
    """Spare as few layers as it takes to lose at most `max_drop`: they stay in float, or get 8 bits instead of 4.

    Operators other than products and convolutions are spared first, all together. Then layers are ranked by the error
    that each alone brings to the outputs; how many of them are spared is found by bisection, in at most `max_trials`
    trials. The drop is measured on the calibration split, by `metric`; without one it is points of accuracy where there
    are labels, else points of agreement with the original, else percent of cosine similarity.
    """

    max_drop: Annotated[float, Field(ge=0, le=100)] = 0.5
    max_trials: Annotated[int, Field(ge=1, le=50)] = 8
    metric: Metric | None = None


class Smooth(Contract):
    """Move outliers from the activations of matrix products into their weights (SmoothQuant, Xiao et al. 2023).

    Channel j of an input is divided by max|x_j|^alpha / max|W_j|^(1 - alpha), and the weights are multiplied by it, so
    that the outputs stay the same. Without `alpha` each layer gets the one with the least error at its output, or none
    where none helps.
    """

    alpha: Annotated[float, Field(ge=0, le=1)] | None = None


class Rounding(StrEnum):
    """How weights become integers. `nearest`: each on its own. `learned`: up or down so that the layer's output errs
    least on calibration samples (the objective of AdaRound, Nagel et al. 2020; solved as in OPTQ, Frantar et al. 2023).
    """

    NEAREST = "nearest"
    LEARNED = "learned"


class Quantize(Contract):
    """Fewer bits for weights and activations.

    Activations are `static` for `int8` unless told otherwise, and always `none` for the others. `static` inserts
    QuantizeLinear/DequantizeLinear pairs with ranges from the calibration split (or from the train split where there is
    none); `percentile` is 99.99 unless told otherwise. `dynamic` needs no data. `int4`, and `int8` with activations
    `none`, store the weights of matrix products in blocks of `block_size`, each with a scale. `fp16` halves the file;
    what would overflow stays in float32. Layers whose name, op or pattern (a regular expression that must match the
    whole name) is excluded stay as they are.

    With `only_faster` what is no quicker in integers stays in float: parts of the graph are timed both ways in
    onnxruntime on the worker, at the job's batch size, and the more weights they hold the more they must gain, as they
    take four times the bytes. A convolution of one input channel often is quicker in float.

    Static activations are `uint8` with a zero point, unless told otherwise: int8, and whatever is `symmetric`, has its
    zero point in the middle. Four corrections, measured on calibration data where they need any: `equalize` evens out
    the ranges of channels between neighbouring layers (Nagel et al. 2019, section 4.1), `smooth` moves outliers of
    activations into weights, `rounding` may be learned, and `bias_correction` takes the mean error that rounding brings
    to a layer's output out of its bias (Nagel et al. 2019, section 4.2).
    """

    kind: Literal["quantize"] = "quantize"
    precision: Precision = Precision.INT8
    activations: Activations | None = None
    activation_type: ActivationType | None = None
    symmetric: bool | None = None
    form: Form = Form.STANDARD
    per_channel: bool = True
    calibrator: Calibrator = Calibrator.MINMAX
    percentile: Annotated[float, Field(gt=90, lt=100)] | None = None
    calibration_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    block_size: Literal[16, 32, 64, 128, 256] = 32
    equalize: bool = False
    smooth: Smooth | None = None
    rounding: Rounding = Rounding.NEAREST
    bias_correction: bool = False
    partial: Partial | None = None
    only_faster: bool = False
    exclude: LayerNames = ()
    exclude_ops: Annotated[tuple[Annotated[str, StringConstraints(pattern=r"^\w+$")], ...], Field(max_length=100)] = ()
    exclude_patterns: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...], Field(max_length=100)
    ] = ()

    @property
    def is_static(self) -> bool:
        """Whether activations are integers with ranges from calibration data."""
        return self.precision is Precision.INT8 and self.activations in (None, Activations.STATIC)

    @property
    def in_integers(self) -> bool:
        """Whether products are computed in integers."""
        return self.precision is Precision.INT8 and self.activations is not Activations.NONE

    @property
    def in_blocks(self) -> bool:
        """Whether the weights of matrix products are stored in blocks."""
        return self.precision in (Precision.INT4, Precision.INT8) and not self.in_integers

    @property
    def needs_data(self) -> bool:
        """Whether something has to be measured on samples."""
        return self.is_static or self.needs_samples

    @property
    def needs_samples(self) -> bool:
        """Whether more than ranges has to be measured, so that statistics do not serve."""
        corrected = self.smooth is not None or self.rounding is Rounding.LEARNED or self.bias_correction
        return corrected or self.partial is not None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.precision is not Precision.INT8 and self.activations not in (None, Activations.NONE):
            raise ValueError(f"{self.precision} weights go with activations 'none'")
        if self.percentile is not None and self.calibrator is not Calibrator.PERCENTILE:
            raise ValueError("percentile goes with calibrator 'percentile'")
        if not self.is_static and self.symmetric is not None:
            raise ValueError("symmetric goes with int8 and static activations")
        if not self.in_integers and (self.equalize or self.smooth is not None):
            raise ValueError("equalize and smooth go with int8 and activations 'static' or 'dynamic'")
        if not self.in_integers and self.only_faster:
            raise ValueError("only_faster goes with int8 and activations 'static' or 'dynamic'")
        measured = self.rounding is Rounding.LEARNED or self.bias_correction or self.partial is not None
        if self.precision in (Precision.FP16, Precision.BF16) and measured:
            raise ValueError("rounding, bias_correction and partial go with int8 and int4")
        return self

    @model_validator(mode="after")
    def _is_what_nvidia_takes(self) -> Self:
        if self.form is not Form.NVIDIA:
            return self
        if not self.is_static:
            raise ValueError("form 'nvidia' goes with int8 and static activations")
        if self.activation_type is ActivationType.UINT8 or self.symmetric is False:
            raise ValueError(
                "form 'nvidia' takes symmetric int8 activations only: leave activation_type and symmetric out"
            )
        return self

    @model_validator(mode="after")
    def _patterns_can_be_read(self) -> Self:
        for pattern in self.exclude_patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"exclude_patterns: {pattern!r} is no regular expression: {error}") from error
        return self
