"""How far two domains are apart inside a network, as a loss that brings them together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from whetstone.contract.adaptation import Coral, Mmd
from whetstone.contract.datasets import Split
from whetstone.contract.failures import FailureCode
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.trainable import Trainable
from workers.engine.training.losses import class_axis

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the Gaussian kernels, as multiples of the mean squared distance (Long et al. 2015, section 4)."""
FEW = 2


class NoFeatures(EngineError):
    """The tensor that should be aligned has no axis of channels."""

    code = FailureCode.MODEL_MISMATCH
    hint = "Name a tensor of shape [samples, channels, …] or [samples, …, channels] inside the model."


def features_of(made: Tensor) -> Tensor:
    """A vector per sample, [N, C]: the mean over all other axes. Raises NoFeatures."""
    if made.dim() < FEW:
        raise NoFeatures(f"A tensor of shape {list(made.shape)} has no axis of channels to align.")
    channels_last = made.float().movedim(class_axis(made), -1)
    return channels_last.flatten(1, -2).mean(1) if made.dim() > FEW else channels_last


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Squared distance of the covariances of [N, C] and [M, C], over 4·C² (Sun & Saenko 2016, equation 1)."""
    apart = torch.cov(source.T) - torch.cov(target.T)
    return apart.square().sum() / (4 * source.shape[1] ** 2)


def mmd(source: Tensor, target: Tensor) -> Tensor:
    """The squared maximum mean discrepancy of [N, C] and [M, C], biased (Gretton et al. 2012, equation 5), as the mean
    over kernels whose widths follow the distances there are.
    """
    both = torch.cat([source, target])
    squares = (both[:, None] - both[None]).square().sum(-1)
    width = squares.detach().mean().clamp_min(torch.finfo(squares.dtype).tiny)
    kernel = torch.stack([torch.exp(-squares / (width * scale)) for scale in WIDTHS]).mean(0)
    count = len(source)
    within = kernel[:count, :count].mean() + kernel[count:, count:].mean()
    return within - 2 * kernel[:count, count:].mean()


@dataclass(frozen=True)
class Alignment:
    """Compares `tensor` for what a batch of the source makes with what as many samples of the target do, drawn anew
    each time by torch's generator.
    """

    method: Coral | Mmd
    tensor: str
    target: Samples

    def __call__(self, module: Trainable, made: Mapping[str, Tensor]) -> Tensor:
        """The weighted distance; 0 for a batch of one, which has no distribution. Raises NoFeatures."""
        source = features_of(made[self.tensor])
        rows = torch.randperm(self.target.count(Split.TRAIN))[: max(len(source), FEW)].sort().values
        if len(source) < FEW or len(rows) < FEW:
            return source.new_zeros(())
        (batch,) = self.target.batches(Split.TRAIN, len(rows), within=rows.numpy())
        inputs = {name: torch.from_numpy(value).to(source.device) for name, value in batch.inputs.items()}
        return self.method.weight * self._distance(source, features_of(module(inputs)[self.tensor]))

    def _distance(self, source: Tensor, target: Tensor) -> Tensor:
        match self.method:
            case Coral():
                return coral(source, target)
            case Mmd():
                return mmd(source, target)
            case _:
                assert_never(self.method)
