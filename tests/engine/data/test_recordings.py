"""Recordings in class folders: waveforms and spectrograms, and every way a file can be wrong."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from whetstone.contract.datasets import Split
from whetstone.contract.recordings import Logarithm, LogMel, Long, MelScale, Mono, Recordings, Short
from workers.engine.data.errors import InvalidDataset
from workers.engine.data.log_mel import to_hertz, to_mel
from workers.engine.data.samples import Samples, open_dataset

RATE = 8000
HOW = Recordings(input="wave", sample_rate=RATE, length=1000)
Wave = NDArray[np.float32]


def noise(length: int = 1000, channels: int = 1) -> Wave:
    found = np.random.default_rng(length).uniform(-0.9, 0.9, (length, channels)).astype(np.float32)
    return found[:, 0] if channels == 1 else found


def sound(wave: Wave, form: str = "WAV", subtype: str = "FLOAT", rate: int = RATE) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, wave, rate, format=form, subtype=subtype)
    return out.getvalue()


def opened(tmp_path: Path, files: dict[str, bytes], how: Recordings = HOW) -> Samples:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return open_dataset(tmp_path / "d.zip", tmp_path, how)


def one(tmp_path: Path, content: bytes, **how: Any) -> Any:
    declared = Recordings.model_validate(HOW.model_dump() | how)
    (batch,) = opened(tmp_path, {"x.wav": content}, declared).batches(Split.TEST, 1)
    return batch.inputs["wave"][0]


def test_waves_come_as_they_are_with_classes_and_splits(tmp_path: Path) -> None:
    waves = {name: noise(1000 + number) for number, name in enumerate(("no", "yes"))}
    files = {f"d/{split}/{name}/1.wav": sound(wave) for split in ("train", "test") for name, wave in waves.items()}
    samples = opened(tmp_path, files)
    facts = samples.facts()
    assert (facts.format, facts.class_names, facts.fields[0].shape) == ("recordings", ("no", "yes"), (1000,))
    assert facts.splits == {Split.TRAIN: 2, Split.TEST: 2}
    (batch,) = samples.batches(Split.TEST, 2, with_labels=True)
    for wave, label in zip(batch.inputs["wave"], batch.required_labels, strict=True):
        assert (wave == waves[("no", "yes")[label]][:1000]).all()


@pytest.mark.parametrize(("form", "subtype", "error"), [("WAV", "PCM_16", 2**-15), ("FLAC", "PCM_24", 2**-23)])
def test_integers_of_either_format_become_fractions(tmp_path: Path, form: str, subtype: str, error: float) -> None:
    assert np.abs(one(tmp_path, sound(noise(), form, subtype)) - noise()).max() <= error


def test_channels(tmp_path: Path) -> None:
    content = sound(noise(1000, 2))
    assert np.allclose(one(tmp_path, content), noise(1000, 2).mean(axis=1), atol=1e-7)
    assert (one(tmp_path, content, mono=Mono.FIRST) == noise(1000, 2)[:, 0]).all()
    assert one(tmp_path, content, features={"kind": "raw", "channel": True}).shape == (1, 1000)
    with pytest.raises(InvalidDataset, match=r"'x.wav' has 2 channels"):
        one(tmp_path, content, mono=Mono.REFUSE)


def test_short_and_long_recordings(tmp_path: Path) -> None:
    short, long = noise(400), noise(2500)
    assert one(tmp_path, sound(short)).tolist() == [*short.tolist(), *[0] * 600]
    assert (one(tmp_path, sound(short), short=Short.REPEAT) == np.tile(short, 3)[:1000]).all()
    assert (one(tmp_path, sound(long)) == long[:1000]).all()
    assert (one(tmp_path, sound(long), long=Long.MIDDLE) == long[750:1750]).all()
    with pytest.raises(InvalidDataset, match=r"'x.wav' has 400 samples, fewer"):
        one(tmp_path, sound(short), short=Short.REFUSE)
    with pytest.raises(InvalidDataset, match=r"'x.wav' has 2500 samples, more"):
        one(tmp_path, sound(long), long=Long.REFUSE)


def test_another_rate_is_refused_or_changed(tmp_path: Path) -> None:
    seconds = np.arange(2000) / (2 * RATE)
    content = sound(np.sin(2 * np.pi * 440 * seconds).astype(np.float32), rate=2 * RATE)
    with pytest.raises(InvalidDataset, match=r"'x.wav' has 16000 samples a second; 8000 are declared"):
        one(tmp_path, content)
    found = one(tmp_path, content, resample=True)
    expected = np.sin(2 * np.pi * 440 * np.arange(1000) / RATE)
    assert np.abs(found - expected)[20:-20].max() < 0.01


def by_torch(wave: Wave, how: LogMel) -> torch.Tensor:
    """The same by another library's transform, and triangles drawn from the formula, point by point."""
    size = how.window or how.n_fft
    spectrum = torch.stft(
        torch.from_numpy(wave),
        how.n_fft,
        how.hop,
        size,
        torch.hann_window(size),
        center=how.center,
        return_complex=True,
    )
    powers = spectrum.abs().double() ** how.power
    high = how.high or RATE / 2
    corners = to_hertz(np.linspace(*to_mel(np.array([how.low, high]), how.scale), how.mels + 2), how.scale)
    weights = torch.zeros(how.mels, how.n_fft // 2 + 1, dtype=torch.float64)
    for mel in range(how.mels):
        left, top, right = corners[mel : mel + 3]
        for number in range(how.n_fft // 2 + 1):
            hertz = number * RATE / how.n_fft
            if left < hertz < right:
                height = (hertz - left) / (top - left) if hertz <= top else (right - hertz) / (right - top)
                weights[mel, number] = height * (2 / (right - left) if how.unit_area else 1)
    return weights @ powers


@pytest.mark.parametrize(
    "how",
    [
        LogMel(n_fft=256, hop=100, mels=20),
        LogMel(n_fft=256, window=200, hop=80, mels=16, low=50, high=3800, scale=MelScale.SLANEY, unit_area=True),
        LogMel(n_fft=128, hop=64, mels=10, power=1, center=False),
    ],
)
def test_spectrograms_are_what_another_library_computes(tmp_path: Path, how: LogMel) -> None:
    found = one(tmp_path, sound(noise()), features=how.model_dump())
    expected = torch.log(torch.clamp(by_torch(noise(), how), min=how.floor)).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3


def test_logarithms_ranges_and_normalization(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"kind": "log_mel", "n_fft": 256, "hop": 100, "mels": 20}
    natural = one(tmp_path, sound(noise()), features=plain)
    decibel = one(tmp_path, sound(noise()), features=plain | {"log": Logarithm.DECIBEL})
    assert np.allclose(decibel, natural * 10 / np.log(10), atol=1e-3)
    limited = one(
        tmp_path, sound(noise()), features=plain | {"log": "log10", "dynamic_range": 0.5, "mean": 1, "std": 2}
    )
    tenth = natural / np.log(10)
    assert np.allclose(limited, (np.maximum(tenth, tenth.max() - 0.5) - 1) / 2, atol=1e-4)
    turned = one(tmp_path, sound(noise()), features=plain | {"frames_first": True, "frames": 7, "channel": True})
    assert (turned == natural.T[None, :7]).all()


def test_the_mel_scales_have_their_known_points() -> None:
    assert to_mel(np.array([1000.0]), MelScale.HTK) == pytest.approx(999.99, abs=0.01)
    assert to_mel(np.array([1000.0, 6400.0]), MelScale.SLANEY) == pytest.approx([15.0, 42.0])
    hertz = np.linspace(0, 8000, 50)
    for scale in MelScale:
        assert np.allclose(to_hertz(to_mel(hertz, scale), scale), hertz, atol=1e-6)


def test_hours_of_silence_in_a_small_file_are_read_for_a_window_alone(tmp_path: Path) -> None:
    content = sound(np.zeros(20_000_000, np.float32), "FLAC", "PCM_16")
    assert len(content) < 200_000
    assert not one(tmp_path, content, long=Long.MIDDLE).any()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"RIFF", "cannot be read as a recording"),
        (b"fLaC" + b"\0" * 100, "cannot be read as a recording"),
        (sound(noise())[:300], "x.wav"),
        (sound(noise(), "FLAC", "PCM_16")[:900], "x.wav"),
        (sound(noise(0)), "is empty"),
        (sound(np.full(100, np.nan, np.float32)), "NaN"),
        (sound(noise(), "AIFF"), "is AIFF"),
    ],
    ids=["cut off", "no FLAC", "half of a WAV", "half of a FLAC", "empty", "NaN", "AIFF"],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(InvalidDataset, match=told):
        one(tmp_path, content, short=Short.REFUSE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": 100, "features": {"kind": "log_mel"}},
        {"features": {"kind": "log_mel", "window": 500}},
        {"features": {"kind": "log_mel", "high": 5000}},
        {"features": {"kind": "log_mel", "low": 300, "high": 200}},
        {"features": {"kind": "log_mel", "frames": 8}},
        {"features": {"kind": "cepstrum"}},
        {"sample_rate": 0},
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Recordings.model_validate({"input": "x", "sample_rate": RATE, "length": 1000} | wrong)
