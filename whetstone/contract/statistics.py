"""What is measured of a model where its data are, so that the data need not leave: ranges and histograms of tensors."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.types import Contract, Count, Sha256, TensorName

BINS = 2048
Bin = Annotated[int, Field(ge=0, le=2**62)]


class TensorStatistics(Contract):
    """One float32 tensor of the graph over all calibration samples: its lowest and highest value, their moving averages
    over the batches (momentum 0.9), and how many values fell into each of 2048 bins of the same width between `low` and
    `high`, zero included; none where the tensor is always zero. `shape` is what the graph says of it: sizes, or names
    of free axes; null where it says nothing.
    """

    name: TensorName
    shape: Annotated[tuple[int | str | None, ...], Field(max_length=64)] | None = None
    low: float
    high: float
    average_low: float
    average_high: float
    counts: Annotated[tuple[Bin, ...], Field(max_length=BINS)] = ()

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high or self.average_low > self.average_high:
            raise ValueError("`low` must not be above `high`")
        if len(self.counts) not in (0, BINS):
            raise ValueError(f"`counts` needs {BINS} numbers, or none")
        return self


class CalibrationStatistics(Contract):
    """Statistics of one model file, known by its sha256. `unbounded` are tensors that became infinite. `inputs` are the
    names of the model's inputs, which are among the tensors where they are float32.
    """

    version: Literal[1] = 1
    model_sha256: Sha256
    samples: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    inputs: Annotated[tuple[TensorName, ...], Field(min_length=1, max_length=1000)]
    tensors: Annotated[tuple[TensorStatistics, ...], Field(min_length=1, max_length=100_000)]
    unbounded: Annotated[tuple[TensorName, ...], Field(max_length=100_000)] = ()

    @model_validator(mode="after")
    def _each_tensor_once(self) -> Self:
        names = [tensor.name for tensor in self.tensors] + list(self.unbounded)
        if len(set(names)) != len(names):
            raise ValueError("each tensor may be named once")
        return self


class StatisticsFacts(Contract):
    """What a file of statistics is about."""

    model_sha256: Sha256
    tensors: Count
