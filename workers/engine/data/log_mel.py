"""Log-mel spectrograms (Davis and Mermelstein, IEEE Trans. ASSP 28(4), 1980), as `LogMel` declares them."""

from typing import assert_never

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from whetstone.contract.recordings import Logarithm, LogMel, MelScale

FRAMES = 4096
"""Frames that are transformed at once."""

LINEAR_STEP = 200 / 3
BREAK = 1000.0
LOG_STEP = np.log(6.4) / 27
"""Slaney's scale: 200/3 Hz a mel up to 1 kHz, above it 27 mels for a factor of 6.4."""

Numbers = NDArray[np.float64]


class Spectrograms:
    """Turns waveforms of one rate into spectrograms."""

    def __init__(self, how: LogMel, sample_rate: int) -> None:
        self._how = how
        self._window = _padded_window(how)
        self._weights = mel_weights(how, sample_rate)

    def of(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """(length,) to (mels, frames), or (frames, mels) with `frames_first`."""
        how = self._how
        padded = np.pad(wave, how.n_fft // 2, mode="reflect") if how.center else wave
        frames = sliding_window_view(padded, how.n_fft)[:: how.hop][: how.frames]
        parts = [self._mels(frames[start : start + FRAMES]) for start in range(0, len(frames), FRAMES)]
        found = self._logarithm(np.concatenate(parts))
        if how.dynamic_range is not None:
            found = np.maximum(found, found.max() - how.dynamic_range)
        scaled = np.asarray((found - how.mean) / how.std, np.float32)
        return scaled if how.frames_first else np.ascontiguousarray(scaled.T)

    def _mels(self, frames: NDArray[np.float32]) -> Numbers:
        magnitudes = np.abs(np.fft.rfft(frames * self._window, axis=1))
        return np.asarray(magnitudes**self._how.power @ self._weights.T)

    def _logarithm(self, mels: Numbers) -> Numbers:
        found = np.maximum(mels, self._how.floor)
        match self._how.log:
            case Logarithm.NATURAL:
                return np.log(found)
            case Logarithm.LOG10:
                return np.log10(found)
            case Logarithm.DECIBEL:
                return np.log10(found) * (20 / self._how.power)
            case _:
                assert_never(self._how.log)


def _padded_window(how: LogMel) -> Numbers:
    """A periodic Hann window in the middle of `n_fft` points."""
    size = how.window or how.n_fft
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    left = (how.n_fft - size) // 2
    return np.pad(window, (left, how.n_fft - size - left))


def mel_weights(how: LogMel, sample_rate: int) -> Numbers:
    """(mels, n_fft // 2 + 1): triangles whose corners are even on the mel scale."""
    high = how.high or sample_rate / 2
    low_mel, high_mel = to_mel(np.array([how.low, high]), how.scale)
    corners = to_hertz(np.linspace(low_mel, high_mel, how.mels + 2), how.scale)
    bins = np.fft.rfftfreq(how.n_fft, 1 / sample_rate)
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return weights * (2 / (corners[2:] - corners[:-2]))[:, None] if how.unit_area else weights


def to_mel(hertz: Numbers, scale: MelScale) -> Numbers:
    match scale:
        case MelScale.HTK:
            return np.asarray(2595 * np.log10(1 + hertz / 700))
        case MelScale.SLANEY:
            above = BREAK / LINEAR_STEP + np.log(np.maximum(hertz, BREAK) / BREAK) / LOG_STEP
            return np.where(hertz < BREAK, hertz / LINEAR_STEP, above)
        case _:
            assert_never(scale)


def to_hertz(mels: Numbers, scale: MelScale) -> Numbers:
    match scale:
        case MelScale.HTK:
            return np.asarray(700 * (10 ** (mels / 2595) - 1))
        case MelScale.SLANEY:
            above = BREAK * np.exp(LOG_STEP * (np.maximum(mels, BREAK / LINEAR_STEP) - BREAK / LINEAR_STEP))
            return np.where(mels < BREAK / LINEAR_STEP, mels * LINEAR_STEP, above)
        case _:
            assert_never(scale)
