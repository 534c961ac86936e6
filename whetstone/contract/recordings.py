"""How samples are made of recordings: one window of each, as a waveform or as a log-mel spectrogram."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from whetstone.contract.types import Contract, TensorName

Hertz = Annotated[float, Field(ge=0, le=384_000)]


class Mono(StrEnum):
    """What becomes of several channels: their mean, or the first of them; or such recordings are refused."""

    MEAN = "mean"
    FIRST = "first"
    REFUSE = "refuse"


class Short(StrEnum):
    """What becomes of a recording shorter than the window: zeros behind it, said again and again, or refused."""

    ZEROS = "zeros"
    REPEAT = "repeat"
    REFUSE = "refuse"


class Long(StrEnum):
    """Which part of a longer recording is the window: its beginning or its middle; or it is refused."""

    START = "start"
    MIDDLE = "middle"
    REFUSE = "refuse"


class Raw(Contract):
    """The waveform, from -1 to 1, float32: (samples, length), or (samples, 1, length) with `channel`."""

    kind: Literal["raw"] = "raw"
    channel: bool = False


class MelScale(StrEnum):
    """`htk`: mel = 2595 log10(1 + f / 700) (O'Shaughnessy 1987; The HTK Book, section 5.4). `slaney`: linear to 1 kHz,
    logarithmic above (Slaney, Auditory Toolbox, Technical Report 1998-010).
    """

    HTK = "htk"
    SLANEY = "slaney"


class Logarithm(StrEnum):
    """`natural`: ln x. `log10`: log10 x. `decibel`: 10 log10 x for powers, 20 log10 x for magnitudes."""

    NATURAL = "natural"
    LOG10 = "log10"
    DECIBEL = "decibel"


class LogMel(Contract):
    """A log-mel spectrogram, float32: (samples, mels, frames), or (samples, 1, mels, frames) with `channel`;
    with `frames_first` the last two axes change places.

    Frames of `window` samples (`n_fft` if left out) every `hop` are weighted by a periodic Hann window, padded with
    zeros around them to `n_fft`, and transformed (Davis and Mermelstein, IEEE Trans. ASSP 28(4), 1980; Allen, IEEE
    Trans. ASSP 25(3), 1977). |X|^`power` is weighted by `mels` triangles spread evenly on the mel scale from `low` to
    `high` Hz (half the sample rate if left out), each of area one with `unit_area`, else of height one. Then
    log(max(x, `floor`)); with `dynamic_range` what lies further below the recording's maximum is raised to that;
    then (x - `mean`) / `std`. With `center` the waveform is mirrored by n_fft / 2 at both ends, so that frames are
    centred: 1 + length // hop of them, else 1 + (length - n_fft) // hop. `frames` cuts off those behind.
    """

    kind: Literal["log_mel"] = "log_mel"
    n_fft: Annotated[int, Field(ge=16, le=32_768)] = 400
    window: Annotated[int, Field(ge=1, le=32_768)] | None = None
    hop: Annotated[int, Field(ge=1, le=32_768)] = 160
    mels: Annotated[int, Field(ge=1, le=1024)] = 80
    low: Hertz = 0.0
    high: Hertz | None = None
    scale: MelScale = MelScale.HTK
    unit_area: bool = False
    power: Literal[1, 2] = 2
    log: Logarithm = Logarithm.NATURAL
    floor: Annotated[float, Field(gt=0, le=1)] = 1e-10
    dynamic_range: Annotated[float, Field(gt=0, le=1000)] | None = None
    center: bool = True
    frames: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    frames_first: bool = False
    channel: bool = False
    mean: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0
    std: Annotated[float, Field(gt=0, le=1e6)] = 1.0


class Recordings(Contract):
    """WAV and FLAC files in class folders in a .zip or .tar: `yes/1.wav`, or `train/yes/1.wav` where splits are given.

    Classes count from 0 in the order of their names; recordings in no folder have no labels. A sample is `length`
    samples at `sample_rate`. Recordings of another rate are refused, or with `resample` changed by a polyphase
    filter (Kaiser window, beta 5).
    """

    kind: Literal["recordings"] = "recordings"
    input: TensorName
    sample_rate: Annotated[int, Field(ge=1000, le=384_000)]
    length: Annotated[int, Field(ge=16, le=16_000_000)]
    resample: bool = False
    mono: Mono = Mono.MEAN
    short: Short = Short.ZEROS
    long: Long = Long.START
    features: Annotated[Raw | LogMel, Field(discriminator="kind")] = Raw()

    @model_validator(mode="after")
    def _features_can_be_computed(self) -> Self:
        how = self.features
        if isinstance(how, Raw):
            return self
        half = self.sample_rate / 2
        if not how.low < (how.high or half) <= half:
            raise ValueError(f"`low` must be below `high`, and `high` at most half the sample rate, {half:g}")
        if (how.window or how.n_fft) > how.n_fft:
            raise ValueError("`window` must be at most `n_fft`")
        if self.length < (how.n_fft // 2 + 1 if how.center else how.n_fft):
            raise ValueError("`length` is too short for a single frame of `n_fft`")
        if how.frames is not None and how.frames > frames_of(how, self.length):
            raise ValueError(f"`frames` must be at most {frames_of(how, self.length)}, which the length gives")
        return self


def frames_of(how: LogMel, length: int) -> int:
    """How many frames so many samples give."""
    return 1 + (length if how.center else length - how.n_fft) // how.hop
