"""The passes of a recipe: what each can be told, with ranges and defaults."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from whetstone.contract.learning import Finetune
from whetstone.contract.pruning import Prune
from whetstone.contract.types import Contract, LayerNames


class Simplify(Contract):
    """Fold constants, fuse what can be fused, drop what is not used. Changes no result."""

    kind: Literal["simplify"] = "simplify"


class Activations(StrEnum):
    """When the range of an activation is found: at run time, or before from calibration data."""

    DYNAMIC = "dynamic"
    STATIC = "static"


class ActivationType(StrEnum):
    """The integer type of static activations. uint8 is the quicker one on CPUs, int8 what NVIDIA's parser takes."""

    UINT8 = "uint8"
    INT8 = "int8"


class Quantize(Contract):
    """8-bit integer weights and activations.

    `static` inserts QuantizeLinear/DequantizeLinear pairs with MinMax ranges from the calibration split (or from
    the train split where there is none); `dynamic` needs no data. Names in `exclude` stay in float.
    """

    kind: Literal["quantize"] = "quantize"
    activations: Activations = Activations.STATIC
    activation_type: ActivationType = ActivationType.UINT8
    per_channel: bool = True
    calibrator: Literal["minmax"] = "minmax"
    calibration_samples: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    exclude: LayerNames = ()


Pass = Annotated[Simplify | Prune | Quantize | Finetune, Field(discriminator="kind")]
