"""Making new samples of a batch, as the job asks, on its tensors. Draws from PyTorch's random numbers: seed them.

Images by kornia, the rest by our own few lines; mixing samples changes labels too.
"""

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor

from whetstone.contract.augmentation import (
    Augmentation,
    Cutmix,
    ImageAugmentation,
    Mixup,
    SignalAugmentation,
    TableAugmentation,
)
from whetstone.contract.datasets import Split
from whetstone.contract.failures import FailureCode
from workers.engine.data.augmentation_images import augment_images
from workers.engine.data.augmentation_mixing import Mixed, cutmix, mixup
from workers.engine.data.augmentation_signals import augment_signal
from workers.engine.data.augmentation_tables import augment_table
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError

IMAGES, SIGNALS, TABLES = (4,), (2, 3), (2,)
SPECTRA = (3, 4)
COLOURS = 3


class UnfitAugmentation(EngineError):
    """An augmentation does not go with the input it is for."""

    code = FailureCode.DATASET_MISMATCH
    hint = "Each augmentation says which shapes it takes; name the input it is for, if there are several."


def _ranks(config: Augmentation) -> tuple[int, ...]:
    match config.kind:
        case "mixup":
            return ()
        case "spec_augment":
            return SPECTRA
        case "gain" | "noise" | "shift":
            return SIGNALS
        case "tabular_noise" | "feature_drop":
            return TABLES
        case "flip" | "crop" | "rotate" | "colour" | "erase" | "cutmix":
            return IMAGES
        case _:
            assert_never(config.kind)


def _input_of(config: Augmentation, names: Iterable[str]) -> str:
    """The input that is meant. Raises UnfitAugmentation if there is none, or several and none is named."""
    known = list(names)
    asked = None if isinstance(config, Mixup) else config.input
    if asked is None and len(known) == 1:
        return known[0]
    told = ", ".join(f"'{name}'" for name in known)
    if asked is None:
        raise UnfitAugmentation(f"'{config.kind}' must name its input: there are {told}.")
    if asked not in known:
        raise UnfitAugmentation(f"'{config.kind}' is for the input '{asked}'; there are only {told}.")
    return asked


def _check_shape(config: Augmentation, name: str, value: Tensor) -> None:
    ranks = _ranks(config)
    if value.dim() not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise UnfitAugmentation(
            f"'{config.kind}' takes {wanted} axes with the batch; '{name}' has {value.dim()}: {list(value.shape[1:])}."
        )
    if not value.is_floating_point():
        raise UnfitAugmentation(f"'{config.kind}' takes floating point values; '{name}' is {value.dtype}.")
    if config.kind == "colour" and (config.saturation or config.hue) and value.shape[1] != COLOURS:
        raise UnfitAugmentation(f"Saturation and hue are for 3 channels; '{name}' has {value.shape[1]}.")


def _check(config: Augmentation, inputs: dict[str, Tensor]) -> None:
    if isinstance(config, Mixup):
        whole = [name for name, value in inputs.items() if not value.is_floating_point()]
        if whole:
            raise UnfitAugmentation(f"'mixup' blends every input, and '{whole[0]}' is {inputs[whole[0]].dtype}.")
        return
    name = _input_of(config, inputs)
    if isinstance(config, Cutmix) and len(inputs) > 1:
        raise UnfitAugmentation("'cutmix' is for models with one input; the others could not be mixed by area.")
    _check_shape(config, name, inputs[name])


def check_augmentations(configs: tuple[Augmentation, ...], samples: Samples) -> None:
    """Raises UnfitAugmentation unless each goes with the input it is for, and at most one mixes samples."""
    if sum(isinstance(config, Mixup | Cutmix) for config in configs) > 1:
        raise UnfitAugmentation("Only one of 'mixup' and 'cutmix' can be used, once.", hint="Leave the others out.")
    if configs:
        first = next(samples.batches(Split.TRAIN, 1))
        inputs = {name: torch.from_numpy(array) for name, array in first.inputs.items()}
        for config in configs:
            _check(config, inputs)


def _changed(config: ImageAugmentation | SignalAugmentation | TableAugmentation, value: Tensor) -> Tensor:
    if isinstance(config, ImageAugmentation):
        return augment_images(config, value)
    if isinstance(config, SignalAugmentation):
        return augment_signal(config, value)
    return augment_table(config, value)


@torch.no_grad()
def augmented(configs: tuple[Augmentation, ...], inputs: dict[str, Tensor]) -> Mixed:
    """The batch after all augmentations, in their order; inputs of the same shapes, checked before."""
    mixed = Mixed(dict(inputs))
    for config in configs:
        match config:
            case Mixup():
                mixed = mixup(config, mixed.inputs)
            case Cutmix():
                mixed = cutmix(config, mixed.inputs, _input_of(config, inputs))
            case _:
                name = _input_of(config, inputs)
                mixed.inputs[name] = _changed(config, mixed.inputs[name])
    return mixed
