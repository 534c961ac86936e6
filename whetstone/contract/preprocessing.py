"""How the samples of a dataset are made from its file: declared once, applied in every step."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.columns import Column, TableLabel
from whetstone.contract.recordings import Recordings
from whetstone.contract.texts import Texts
from whetstone.contract.types import Contract, TensorName

Pixels = Annotated[int, Field(ge=1, le=4096)]


class Channels(StrEnum):
    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"

    @property
    def number(self) -> int:
        return 1 if self is Channels.GRAY else 3


class Layout(StrEnum):
    """The order of a sample's axes: channels first, or last."""

    CHW = "chw"
    HWC = "hwc"


class Fit(StrEnum):
    """How an image comes to its size: scaled and the middle cut out, stretched, or scaled and padded with black."""

    CROP = "crop"
    STRETCH = "stretch"
    PAD = "pad"


class Interpolation(StrEnum):
    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class ImageType(StrEnum):
    FLOAT32 = "float32"
    UINT8 = "uint8"


class Images(Contract):
    """Images in class folders in a .zip or .tar: `cat/1.jpg`, or `train/cat/1.jpg` where splits are given.

    Classes count from 0 in the order of their names; images in no folder have no labels. With fit `crop` the shorter
    side is scaled to `resize` (to just cover `height` × `width` if left out) before the middle is cut out. A float32
    sample is (pixel · scale - mean) / std with pixels from 0 to 255; a uint8 sample is the pixels as they are.
    """

    kind: Literal["images"] = "images"
    input: TensorName
    height: Pixels
    width: Pixels
    fit: Fit = Fit.CROP
    resize: Pixels | None = None
    interpolation: Interpolation = Interpolation.BILINEAR
    channels: Channels = Channels.RGB
    layout: Layout = Layout.CHW
    dtype: ImageType = ImageType.FLOAT32
    scale: Annotated[float, Field(gt=0, le=1e6)] | None = None
    mean: Annotated[tuple[float, ...], Field(min_length=1, max_length=3)] | None = None
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1, max_length=3)] | None = None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.dtype is ImageType.UINT8 and (self.scale, self.mean, self.std) != (None, None, None):
            raise ValueError("`scale`, `mean` and `std` are for float32 samples; leave them out for uint8")
        for name in ("mean", "std"):
            given = getattr(self, name)
            if given is not None and len(given) not in (1, self.channels.number):
                raise ValueError(f"`{name}` needs one number, or one for each of {self.channels.number} channels")
        if self.resize is not None and self.fit is not Fit.CROP:
            raise ValueError("`resize` is for fit `crop` alone")
        if self.resize is not None and self.resize < max(self.height, self.width):
            raise ValueError("`resize` must be at least as large as `height` and `width`, which are cut out of it")
        return self


class NumberType(StrEnum):
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT32 = "int32"
    INT64 = "int64"


class TableInput(Contract):
    """One input of the model: these columns side by side, (samples, columns); or (samples,) where `flat`."""

    name: TensorName
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=10_000)]
    dtype: NumberType = NumberType.FLOAT32
    flat: bool = False

    @model_validator(mode="after")
    def _flat_is_one_column(self) -> Self:
        if self.flat and len(self.columns) > 1:
            raise ValueError("`flat` needs a single column")
        return self


class Table(Contract):
    """A .csv (UTF-8, with a header), .parquet or .arrow file, one sample a row.

    Columns that nothing names are not read. `split` is a column that says `train`, `calibration` or `test`; without it
    splits are made.
    """

    kind: Literal["table"] = "table"
    inputs: Annotated[tuple[TableInput, ...], Field(min_length=1, max_length=1000)]
    label: TableLabel | None = None
    split: Column | None = None
    delimiter: Annotated[str, Field(pattern=r"^[,;|\t ]$")] = ","

    @model_validator(mode="after")
    def _each_input_once(self) -> Self:
        names = [each.name for each in self.inputs]
        if len(set(names)) != len(names) or "labels" in names:
            raise ValueError("each input may be named once, and none `labels`")
        return self


class SingleArray(Contract):
    """An .npy file: the array of one input, a sample a row."""

    kind: Literal["array"] = "array"
    input: TensorName


class StatisticsFile(Contract):
    """No samples, but what `whet calibrate` has measured on them: JSON of the schema `CalibrationStatistics`. Name the
    dataset as `calibration_id` of a job.
    """

    kind: Literal["statistics"] = "statistics"


Preprocessing = Annotated[
    Images | Table | Texts | Recordings | SingleArray | StatisticsFile, Field(discriminator="kind")
]
