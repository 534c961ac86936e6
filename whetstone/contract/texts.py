"""How samples are made of texts: by a tokenizer that lies beside them, cut and padded to one length."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.columns import Column, TableLabel
from whetstone.contract.types import Contract, TensorName

Tokens = Annotated[int, Field(ge=1, le=32_768)]


class Padding(StrEnum):
    """How long every sample is: `max_length`, or as long as the longest sample of the dataset."""

    MAX_LENGTH = "max_length"
    LONGEST = "longest"


class Side(StrEnum):
    LEFT = "left"
    RIGHT = "right"


class TokenType(StrEnum):
    INT64 = "int64"
    INT32 = "int32"


class Texts(Contract):
    """JSON Lines in a .zip or .tar, with a `tokenizer.json` beside them: one object a line, one sample an object.

    Files named `train.jsonl`, `calibration.jsonl` and `test.jsonl` are the splits; with other names the column `split`
    says it, or splits are made. `columns` are one field, or two that are told apart by token types. The inputs `ids`,
    `mask` (1 for tokens, 0 for padding) and `types` are of shape (samples, length); name those that the model has.

    Samples of more than `max_length` tokens, special ones counted, are cut on the right, of two texts the longer one
    first. What is padded with is `pad_token`, else what tokenizer.json says.
    """

    kind: Literal["texts"] = "texts"
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=2)]
    max_length: Tokens
    label: TableLabel | None = None
    split: Column | None = None
    padding: Padding = Padding.MAX_LENGTH
    pad_side: Side = Side.RIGHT
    pad_token: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    special_tokens: bool = True
    ids: TensorName = "input_ids"
    mask: TensorName | None = None
    types: TensorName | None = None
    dtype: TokenType = TokenType.INT64

    @model_validator(mode="after")
    def _each_input_once(self) -> Self:
        names = [name for name in (self.ids, self.mask, self.types) if name is not None]
        if len(set(names)) != len(names) or "labels" in names:
            raise ValueError("`ids`, `mask` and `types` need different names, and none may be `labels`")
        return self
