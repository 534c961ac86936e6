"""Augmentation of images [N, C, H, W], by kornia."""

from collections.abc import Callable
from typing import assert_never

import kornia.augmentation as K  # noqa: N812 - kornia's own convention
import torch
from torch import Tensor

from whetstone.contract.augmentation import Colour, Crop, Erase, Flip, ImageAugmentation, Rotate
from workers.engine.data.errors import DatasetMismatch

ROUNDING = 1e-3
SMALLEST = 0.02
"""The least share of an image that is erased (Zhong et al. 2020)."""


def _colour(config: Colour, images: Tensor) -> Tensor:
    """Kornia's colours are those of values from 0 to 1."""
    span = config.high - config.low
    scaled = (images - config.low) / span
    if scaled.min() < -ROUNDING or scaled.max() > 1 + ROUNDING:
        raise DatasetMismatch(
            f"'colour' was told of values from {config.low} to {config.high}; "
            f"there are some from {float(images.min()):.4g} to {float(images.max()):.4g}.",
            hint="Set low and high to the values that black and white have in the dataset.",
        )
    jiggle = K.ColorJiggle(config.brightness, config.contrast, config.saturation, config.hue, p=config.probability)
    return jiggle(scaled.clamp(0, 1)) * span + config.low  # type: ignore[no-any-return]


def _crop(config: Crop, images: Tensor) -> Tensor:
    """Kornia crops all of a batch or none; here each image is drawn for itself."""
    cropped: Tensor = K.RandomResizedCrop((images.shape[2], images.shape[3]), scale=(config.scale, 1.0), p=1.0)(images)
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < config.probability
    return torch.where(chosen, cropped, images)


def augment_images(config: ImageAugmentation, images: Tensor) -> Tensor:
    """Images of the same shape; drawn for each sample. Raises DatasetMismatch for colours out of range."""
    changed: Tensor = _transform(config)(images)
    return changed


def _transform(config: ImageAugmentation) -> Callable[[Tensor], Tensor]:
    match config:
        case Flip():
            flip = K.RandomHorizontalFlip if config.direction == "horizontal" else K.RandomVerticalFlip
            return flip(p=config.probability)
        case Crop():
            return lambda images: _crop(config, images)
        case Rotate():
            return K.RandomRotation(config.degrees, p=config.probability)
        case Colour():
            return lambda images: _colour(config, images)
        case Erase():
            return K.RandomErasing(scale=(SMALLEST, config.scale), value=config.fill, p=config.probability)
        case _:
            assert_never(config)
