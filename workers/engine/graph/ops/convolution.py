"""Convolutions over one to three spatial axes."""

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op
from workers.engine.graph.ops.windows import window_of

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    window = window_of(node, x, list(weight.shape[2:]))
    run, group = CONV[len(window.kernel)], node.get("group", 1)
    if window.before == window.after:
        return run(x, weight, bias, window.strides, window.before, window.dilations, group)
    return run(window.padded(x), weight, bias, window.strides, 0, window.dilations, group)


def _cropped(node: Node, x: Tensor, full: Tensor, strides: list[int]) -> tuple[list[int], list[int]]:
    """How much to cut from the full result before and after, along each spatial axis."""
    rank, mode = len(strides), node.get("auto_pad", "NOTSET")
    pads = node.get("pads", [0] * 2 * rank)
    wanted = node.get("output_shape", None)
    if wanted is None and mode.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if wanted is None:
        return pads[:rank], pads[rank:]
    total = [have - want for have, want in zip(full.shape[2:], wanted[-rank:], strict=True)]
    small, large = [max(t, 0) // 2 for t in total], [t - max(t, 0) // 2 for t in total]
    return (small, large) if mode == "SAME_UPPER" or min(total) < 0 else (large, small)


def conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = weight.dim() - 2
    strides, dilations = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
    extra = node.get("output_padding", [0] * rank)
    # torch demands that the extra be below the stride, and ONNX does not: append it by hand
    full = CONV_TRANSPOSE[rank](x, weight, None, strides, 0, 0, node.get("group", 1), dilations)
    full = F.pad(full, [size for end in reversed(extra) for size in (0, end)]) if any(extra) else full
    before, after = _cropped(node, x, full, strides)
    if any(before + after):  # what is to be cut is padding below zero
        full = F.pad(full, [-size for pair in zip(reversed(before), reversed(after), strict=True) for size in pair])
    return full if bias is None else full + bias.reshape([-1] + [1] * rank)


CONVOLUTIONS = {
    "Conv": op(conv, learned=[1, 2]),
    "ConvTranspose": op(conv_transpose, learned=[1, 2]),
}
