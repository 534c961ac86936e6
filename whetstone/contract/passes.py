"""The passes of a recipe: what each can be told, with ranges and defaults."""

from typing import Annotated, Literal

from pydantic import Field

from whetstone.contract.adaptation import Adapt
from whetstone.contract.factorization import Factorize
from whetstone.contract.learning import Finetune
from whetstone.contract.pruning import Prune
from whetstone.contract.quantization import Quantize
from whetstone.contract.substitution import Substitute
from whetstone.contract.types import Contract


class Simplify(Contract):
    """Fold constants, fuse what can be fused, drop what is not used. Changes no result."""

    kind: Literal["simplify"] = "simplify"


Pass = Annotated[Simplify | Substitute | Prune | Factorize | Quantize | Finetune | Adapt, Field(discriminator="kind")]
