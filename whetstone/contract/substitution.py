"""Parts of a graph as other operators that compute the same: `substitute`."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from whetstone.contract.types import Contract


class Rule(StrEnum):
    """What takes the place of what.

    `table`: rows of a table, for the product of a one-hot encoding with a matrix and what is done to each element after
    it. `function`: GELU, SiLU and hard swish in the form that runtimes know, for other ways to write them out.
    `normalization`: a normalization that centres values before it squares them, for one whose variance is a difference
    of two means, which low precision does not survive.
    `patches`: a product of cut-out windows with a matrix (im2col, Chellapilla et al. 2006), for a convolution of one
    channel along one axis. `channels`: the sum of convolutions of some channels each, for one with a very large kernel.
    `pixels`: a 1 × 1 convolution and a rearrangement of its channels (sub-pixel convolution, Shi et al. 2016), for a
    transposed convolution whose windows do not overlap. `layout`: a concatenation in the order of axes that is asked
    for after it, where no values have to move for that.
    """

    TABLE = "table"
    FUNCTION = "function"
    NORMALIZATION = "normalization"
    PATCHES = "patches"
    CHANNELS = "channels"
    PIXELS = "pixels"
    LAYOUT = "layout"


class Substitute(Contract):
    """Put operators in the place of others that compute the same but for rounding.

    Which of them a runtime does faster differs by runtime, processor and precision: `search` tries each, and keeps
    those that gain. A rule that finds no place changes nothing; if none finds one, the pass fails.
    """

    kind: Literal["substitute"] = "substitute"
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)] = tuple(Rule)
