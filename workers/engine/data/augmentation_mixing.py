"""Mixing the samples of a batch with each other. Labels are mixed in the loss, by the same shares."""

from dataclasses import dataclass

import torch
from torch import Tensor

from whetstone.contract.augmentation import Cutmix, Mixup


@dataclass(frozen=True)
class Mixed:
    """Inputs, and what was mixed into each sample: the sample at `partners`, with 1 - `share`. None: nothing."""

    inputs: dict[str, Tensor]
    partners: Tensor | None = None
    share: float = 1.0


def _share(alpha: float) -> float:
    """One draw from Beta(α, α), by PyTorch's random numbers."""
    return float(torch.distributions.Beta(torch.tensor(alpha), torch.tensor(alpha)).sample())


def _partners(inputs: dict[str, Tensor]) -> Tensor:
    return torch.randperm(len(next(iter(inputs.values()))))


def mixup(config: Mixup, inputs: dict[str, Tensor]) -> Mixed:
    """Replace x by λ x + (1 - λ) x' (Zhang et al. 2018, equation 1), with the same λ and x' for every input."""
    share, partners = _share(config.alpha), _partners(inputs)
    blended = {name: share * value + (1 - share) * value[partners] for name, value in inputs.items()}
    return Mixed(blended, partners, share)


def _rectangle(height: int, width: int, area: float) -> tuple[slice, slice]:
    """A rectangle of this share of an image, around a random centre, as far as it lies within."""
    side = area**0.5
    cuts = []
    for size in (height, width):
        half, centre = size * side / 2, int(torch.randint(size, ()))
        cuts.append(slice(max(0, round(centre - half)), min(size, round(centre + half))))
    return cuts[0], cuts[1]


def cutmix(config: Cutmix, inputs: dict[str, Tensor], name: str) -> Mixed:
    """Yun et al. 2019, algorithm 1: the share of the label is the share of the area that was kept."""
    images, partners = inputs[name].clone(), _partners(inputs)
    rows, columns = _rectangle(images.shape[2], images.shape[3], 1 - _share(config.alpha))
    images[:, :, rows, columns] = inputs[name][partners][:, :, rows, columns]
    cut = (rows.stop - rows.start) * (columns.stop - columns.start)
    return Mixed({**inputs, name: images}, partners, 1 - cut / (images.shape[2] * images.shape[3]))
