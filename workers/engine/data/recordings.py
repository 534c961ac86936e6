"""Reading recordings in class folders: one window of each into an array on disk, as a waveform or its spectrogram."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, gcd
from pathlib import Path
from typing import assert_never

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from whetstone.contract.recordings import LogMel, Long, Mono, Raw, Recordings, Short
from workers.engine.data.archive import MAX_BYTES, Array
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.folders import Entry, open_archive, places_of
from workers.engine.data.log_mel import Spectrograms
from workers.engine.data.unpacked import Unpacked

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")
MAX_CHANNELS = 64
HINT = "Recordings are .wav or .flac files in class folders in a .zip or .tar."
Wave = NDArray[np.float32]


def read_recordings(path: Path, folder: Path, how: Recordings) -> Unpacked:
    """Unpack a window of every recording into `folder`. Raises InvalidDataset, naming the file."""
    with open_archive(path) as archive:
        places = places_of(archive.names())
        features = _Features(how)
        samples = _allocate(folder / "recordings.npy", len(places.rows), features.shape)
        for entry in archive.entries():
            if entry.name in places.rows:
                samples[places.rows[entry.name]] = features.of(_window(entry, how))
    samples.flush()
    arrays: dict[str, Array] = {how.input: np.load(folder / "recordings.npy", mmap_mode="r", allow_pickle=False)}
    if places.labels is not None:
        arrays["labels"] = places.labels
    return Unpacked("recordings", arrays, places.splits, places.classes)


class _Features:
    """What a window becomes."""

    def __init__(self, how: Recordings) -> None:
        self._how = how.features
        self._spectrograms = Spectrograms(how.features, how.sample_rate) if isinstance(how.features, LogMel) else None
        self.shape = self.of(np.zeros(how.length, np.float32)).shape

    def of(self, wave: Wave) -> Wave:
        match self._how:
            case Raw():
                found = wave
            case LogMel():
                assert self._spectrograms is not None  # noqa: S101 - made above
                found = self._spectrograms.of(wave)
            case _:
                assert_never(self._how)
        return found[None] if self._how.channel else found


def _allocate(path: Path, count: int, sample: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.generic]]:
    shape = (count, *sample)
    size = int(np.prod(shape)) * np.dtype(np.float32).itemsize
    told = f"{count} samples of shape {list(sample)} take {size / 2**30:.1f} GiB unpacked"
    if size > MAX_BYTES:
        raise InvalidDataset(f"{told}; at most {MAX_BYTES / 2**30:.0f} GiB are read.")
    try:
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    except OSError as error:
        raise InvalidDataset(
            f"{told}, which is more than a step may write.", hint="Upload fewer recordings."
        ) from error


def _window(entry: Entry, how: Recordings) -> Wave:
    """(length,) at the declared rate, one channel."""
    with _reasons(entry.name), entry.open() as packed, soundfile.SoundFile(io.BytesIO(packed.read())) as file:
        if file.format not in FORMATS:
            raise InvalidDataset(f"'{entry.name}' is {file.format}.", hint=HINT)
        if file.channels > (MAX_CHANNELS if how.mono is not Mono.REFUSE else 1):
            raise InvalidDataset(f"'{entry.name}' has {file.channels} channels.", hint="Declare `mono` as `mean`.")
        if file.samplerate != how.sample_rate and not how.resample:
            raise InvalidDataset(
                f"'{entry.name}' has {file.samplerate} samples a second; {how.sample_rate} are declared.",
                hint="Declare its own rate, or `resample`.",
            )
        wave = _one_channel(_read(file, how, entry.name), how.mono)
        rate = file.samplerate
    if not np.isfinite(wave).all():
        raise InvalidDataset(f"'{entry.name}' contains NaN or infinite values.")
    return _fitted(_resampled(wave, rate, how.sample_rate)[: how.length], how, entry.name)


@contextmanager
def _reasons(name: str) -> Iterator[None]:
    """The library raises an error of its own for a file that is no recording, or breaks off."""
    try:
        yield
    except soundfile.SoundFileError as error:
        raise InvalidDataset(f"'{name}' cannot be read as a recording: {error}", hint=HINT) from error


def _read(file: soundfile.SoundFile, how: Recordings, name: str) -> Array:
    """(frames, channels), of the window alone: a small file may hold hours of silence."""
    wanted = ceil(how.length * file.samplerate / how.sample_rate)
    if file.frames == 0:
        raise InvalidDataset(f"'{name}' is empty.")
    if file.frames > wanted and how.long is Long.REFUSE:
        raise InvalidDataset(f"'{name}' has {file.frames} samples, more than the window's {wanted}.")
    if file.frames > wanted and how.long is Long.MIDDLE:
        file.seek((file.frames - wanted) // 2)
    found: Array = file.read(min(wanted, file.frames), dtype="float32", always_2d=True)
    if len(found) < min(wanted, file.frames):
        raise InvalidDataset(f"'{name}' breaks off before its end.")
    return found


def _one_channel(sound: Array, mono: Mono) -> Wave:
    return np.asarray(sound.mean(axis=1) if mono is Mono.MEAN else sound[:, 0], np.float32)


def _resampled(wave: Wave, have: int, want: int) -> Wave:
    if have == want:
        return wave
    shared = gcd(have, want)
    return np.asarray(resample_poly(wave, want // shared, have // shared), np.float32)


def _fitted(wave: Wave, how: Recordings, name: str) -> Wave:
    missing = how.length - len(wave)
    if missing <= 0:
        return wave
    match how.short:
        case Short.REFUSE:
            raise InvalidDataset(f"'{name}' has {len(wave)} samples, fewer than the window's {how.length}.")
        case Short.REPEAT:
            return np.resize(wave, how.length)
        case Short.ZEROS:
            return np.pad(wave, (0, missing))
        case _:
            assert_never(how.short)
