"""Augmentation of sound, as samples over time [N, T] and [N, C, T] or as spectrograms [N, F, T] and [N, C, F, T]."""

from typing import assert_never

import torch
from torch import Tensor

from whetstone.contract.augmentation import Gain, Noise, Shift, SignalAugmentation, SpecAugment

QUIET = 1e-12
"""Power below which a signal counts as silence; noise relative to it would be none."""


def _per_sample(signal: Tensor, values: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (signal.dim() - 1))


def _uniform(signal: Tensor, low: float, high: float) -> Tensor:
    """One number per sample."""
    return torch.empty(len(signal)).uniform_(low, high)


def _chosen(signal: Tensor, changed: Tensor, probability: float) -> Tensor:
    """The changed samples, each with this probability, and the others as they were."""
    return torch.where(_per_sample(signal, torch.rand(len(signal)) < probability), changed, signal)


def _gain(config: Gain, signal: Tensor) -> Tensor:
    decibels = _uniform(signal, -config.decibels, config.decibels)
    return signal * _per_sample(signal, 10 ** (decibels / 20)).to(signal.dtype)


def _noise(config: Noise, signal: Tensor) -> Tensor:
    """Power of the noise = power of the signal / 10^(dB / 10)."""
    distance = _uniform(signal, config.loudest_db, config.quietest_db)
    power = signal.square().flatten(1).mean(1).clamp_min(QUIET)
    level = (power / 10 ** (distance / 10)).sqrt()
    return signal + torch.randn_like(signal) * _per_sample(signal, level).to(signal.dtype)


def _shift(config: Shift, signal: Tensor) -> Tensor:
    length = signal.shape[-1]
    steps = (_uniform(signal, -config.share, config.share) * length).round().to(torch.int64)
    source = torch.arange(length) - _per_sample(signal, steps)
    inside = (source >= 0) & (source < length)
    return signal.gather(-1, source.clamp(0, length - 1).expand(signal.shape)) * inside


def _band(size: int, share: float, count: int) -> Tensor:
    """Per sample, which places of an axis a band of random width covers [N, size]."""
    width = torch.rand(count, 1) * share * size
    start = torch.rand(count, 1) * (size - width)
    places = torch.arange(size)
    return (places >= start.floor()) & (places < (start + width).floor())


def _spec_augment(config: SpecAugment, spectra: Tensor) -> Tensor:
    count, (frequencies, times) = len(spectra), spectra.shape[-2:]
    hidden = torch.zeros(count, frequencies, times, dtype=torch.bool)
    for _ in range(config.frequency_bands):
        hidden |= _band(frequencies, config.frequency_share, count)[:, :, None]
    for _ in range(config.time_bands):
        hidden |= _band(times, config.time_share, count)[:, None, :]
    return spectra.masked_fill(hidden if spectra.dim() == hidden.dim() else hidden[:, None], config.fill)


def augment_signal(config: SignalAugmentation, signal: Tensor) -> Tensor:
    """Sound of the same shape; each sample is drawn for on its own."""
    match config:
        case Gain():
            return _chosen(signal, _gain(config, signal), config.probability)
        case Noise():
            return _chosen(signal, _noise(config, signal), config.probability)
        case Shift():
            return _chosen(signal, _shift(config, signal), config.probability)
        case SpecAugment():
            return _spec_augment(config, signal)
        case _:
            assert_never(config)
