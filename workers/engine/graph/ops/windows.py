"""Sizes of sliding windows: kernels, strides, and the padding that ONNX spells in three ways."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node


@dataclass(frozen=True)
class Window:
    """One number per spatial axis, and the padding before and after each."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    def padded(self, x: Tensor, value: float = 0.0) -> Tensor:
        """Pad the spatial axes of x [N, C, *spatial]; torch counts them from the last."""
        if not any(self.before + self.after):
            return x
        pairs = [size for pair in zip(reversed(self.before), reversed(self.after), strict=True) for size in pair]
        return F.pad(x, pairs, value=value)


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    """The padding that makes ceil(size / stride) windows."""
    return max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)


def window_of(node: Node, x: Tensor, kernel: list[int]) -> Window:
    """The window of a convolution or pool over x [N, C, *spatial]."""
    rank = len(kernel)
    strides, dilations = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
    pads = node.get("pads", [0] * 2 * rank)
    before, after = pads[:rank], pads[rank:]
    mode = node.get("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        total = [_same(*sizes) for sizes in zip(x.shape[2:], kernel, strides, dilations, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
    elif mode == "VALID":
        before = after = [0] * rank
    return Window(kernel, strides, dilations, before, after)
