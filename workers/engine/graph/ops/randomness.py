"""Random values, from torch's generator or the seed in the node."""

import numpy as np
import torch
from onnx import helper
from torch import Tensor

from workers.engine.graph.ops.node import Node, op
from workers.engine.graph.ops.setting import Setting
from workers.engine.graph.ops.values import TORCH_TYPES


def _generator(node: Node, device: torch.device | None) -> torch.Generator | None:
    seed = node.get("seed", None)
    return None if seed is None else torch.Generator(device or "cpu").manual_seed(int(seed))


def _dtype(node: Node, default: torch.dtype) -> torch.dtype:
    number = node.get("dtype", None)
    return default if number is None else TORCH_TYPES[np.dtype(helper.tensor_dtype_to_np_dtype(number))]


def _normal(node: Node, shape: list[int], dtype: torch.dtype, device: torch.device | None) -> Tensor:
    made = torch.randn(shape, dtype=dtype, device=device, generator=_generator(node, device))
    return made.mul(node.get("scale", 1.0)).add(node.get("mean", 0.0))


def _uniform(node: Node, shape: list[int], dtype: torch.dtype, device: torch.device | None) -> Tensor:
    low, high = node.get("low", 0.0), node.get("high", 1.0)
    made = torch.rand(shape, dtype=dtype, device=device, generator=_generator(node, device))
    return made.mul(high - low).add(low)


def random_normal(node: Node, *, setting: Setting) -> Tensor:
    return _normal(node, node.attributes["shape"], _dtype(node, torch.float32), setting.device)


def random_uniform(node: Node, *, setting: Setting) -> Tensor:
    return _uniform(node, node.attributes["shape"], _dtype(node, torch.float32), setting.device)


def random_normal_like(node: Node, x: Tensor, *, setting: Setting) -> Tensor:
    del setting
    return _normal(node, list(x.shape), _dtype(node, x.dtype), x.device)


def random_uniform_like(node: Node, x: Tensor, *, setting: Setting) -> Tensor:
    del setting
    return _uniform(node, list(x.shape), _dtype(node, x.dtype), x.device)


def bernoulli(node: Node, x: Tensor, *, setting: Setting) -> Tensor:
    del setting
    return torch.bernoulli(x, generator=_generator(node, x.device)).to(_dtype(node, x.dtype))


def multinomial(node: Node, x: Tensor, *, setting: Setting) -> Tensor:
    """Draws from the unnormalized logarithms of probabilities [N, C] → [N, sample_size]."""
    del setting
    draws = torch.multinomial(x.softmax(-1), node.get("sample_size", 1), True, generator=_generator(node, x.device))  # noqa: FBT003
    return draws.to(_dtype(node, torch.int32))


RANDOMNESS = {
    "RandomNormal": op(random_normal, modal=True, smooth=False),
    "RandomUniform": op(random_uniform, modal=True, smooth=False),
    "RandomNormalLike": op(random_normal_like, modal=True, smooth=False),
    "RandomUniformLike": op(random_uniform_like, modal=True, smooth=False),
    "Bernoulli": op(bernoulli, modal=True, smooth=False),
    "Multinomial": op(multinomial, modal=True, smooth=False),
}
