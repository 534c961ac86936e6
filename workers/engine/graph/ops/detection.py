"""Ops of detectors and spatial transformers: sampling at places that were computed, and picking boxes."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Host, Node, host_op, op

GRID_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    mode = node.get("mode", "linear")
    return F.grid_sample(
        x, grid.to(x.dtype), GRID_MODES.get(mode, mode), node.get("padding_mode", "zeros"),
        align_corners=bool(node.get("align_corners", 0)),
    )  # fmt: skip


def affine_grid(node: Node, theta: Tensor, size: list[int]) -> Tensor:
    return F.affine_grid(theta, size, align_corners=bool(node.get("align_corners", 0)))


def _weights(start: float, size: float, count: int, samples: int, length: int) -> Host:
    """Bilinear weights [count, samples, length] of the sample points of `count` bins over an axis."""
    points = start + (np.arange(count * samples).reshape(count, samples) + 0.5) * size / samples
    inside = (points >= -1) & (points <= length)
    points = np.clip(points, 0, length - 1)
    weights = np.clip(1 - np.abs(points[..., None] - np.arange(length)), 0, 1)
    return np.where(inside[..., None], weights, 0)


def _one_roi(node: Node, image: Tensor, roi: list[float]) -> Tensor:
    """One region of an image [C, H, W] → [C, out_h, out_w]."""
    scale, ratio = node.get("spatial_scale", 1.0), node.get("sampling_ratio", 0)
    is_half = node.get("coordinate_transformation_mode", "half_pixel" if node.opset >= 16 else "") == "half_pixel"  # noqa: PLR2004
    shift = 0.5 if is_half else 0.0
    x1, y1, x2, y2 = (value * scale - shift for value in roi)
    parts = []
    for start, end, count, length in (
        (y1, y2, node.get("output_height", 1), image.shape[1]),
        (x1, x2, node.get("output_width", 1), image.shape[2]),
    ):
        extent = end - start if is_half else max(end - start, 1.0)
        samples = ratio or max(math.ceil(extent / count), 1)
        parts.append(torch.from_numpy(_weights(start, extent / count, count, samples, length)).to(image))
    vertical, horizontal = parts
    if node.get("mode", "avg") == "avg":
        return vertical.mean(1) @ image @ horizontal.mean(1).T
    return _largest_corner(image, vertical, horizontal)


def _largest_corner(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """The standard's maximum is over the weighted corners of all sample points, not over the points themselves."""
    weighted = torch.einsum("chw,ash,btw->cabsthw", image, vertical, horizontal)
    outside = torch.einsum("ash,btw->absthw", vertical, horizontal) == 0
    return weighted.masked_fill(outside, -math.inf).amax((3, 4, 5, 6))


def roi_align(node: Node, x: Tensor, rois: Tensor, batch: Tensor) -> Tensor:
    regions = zip(rois.tolist(), batch.tolist(), strict=True)
    return torch.stack([_one_roi(node, x[index], roi) for roi, index in regions])


def _corners(boxes: Host, *, centered: bool) -> Host:
    """Boxes [N, 4] as y1, x1, y2, x2 with the smaller corner first."""
    if centered:
        x, y, w, h = boxes.T
        return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], 1)
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], 1)


def _overlaps(box: Host, others: Host) -> Host:
    """Intersection over union of one box with others."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), 1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], 1) - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _kept(boxes: Host, scores: Host, limit: int, overlap: float, threshold: float | None) -> list[int]:
    order = [int(i) for i in np.argsort(-scores, kind="stable") if threshold is None or scores[i] > threshold]
    kept: list[int] = []
    while order and len(kept) < limit:
        best, *rest = order
        kept.append(best)
        order = [i for i, iou in zip(rest, _overlaps(boxes[best], boxes[rest]), strict=True) if iou <= overlap]
    return kept


def non_max_suppression(
    node: Node,
    boxes: Host,
    scores: Host,
    limit: Host | None = None,
    overlap: Host | None = None,
    threshold: Host | None = None,
) -> Host:
    """Rows of (batch, class, box) of the boxes that no better one of the same class covers too much."""
    most = 0 if limit is None else int(limit.item())
    iou = 0.0 if overlap is None else float(overlap.item())
    low = None if threshold is None else float(threshold.item())
    rows = [
        (sample, kind, box)
        for sample in range(scores.shape[0])
        for kind in range(scores.shape[1])
        for box in _kept(
            _corners(boxes[sample], centered=bool(node.get("center_point_box", 0))),
            scores[sample, kind],
            most,
            iou,
            low,
        )
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def col2im(node: Node, x: Tensor, image: list[int], block: list[int]) -> Tensor:
    """Add sliding blocks [N, C·prod(block), L] up to an image [N, C, *image], over any number of axes."""
    rank = len(image)
    dilations, strides = node.get("dilations", [1] * rank), node.get("strides", [1] * rank)
    pads = node.get("pads", [0] * 2 * rank)
    padded = [size + pads[i] + pads[i + rank] for i, size in enumerate(image)]
    places = np.zeros([1] * 2 * rank, np.int64)
    for axis in range(rank):
        windows = (padded[axis] - dilations[axis] * (block[axis] - 1) - 1) // strides[axis] + 1
        along = np.arange(block[axis])[:, None] * dilations[axis] + np.arange(windows) * strides[axis]
        shape = [1] * 2 * rank
        shape[axis], shape[rank + axis] = along.shape
        places = places * padded[axis] + along.reshape(shape)
    flat = torch.from_numpy(np.ascontiguousarray(places.reshape(-1))).to(x.device)
    columns = x.reshape(x.shape[0], -1, flat.numel())
    made = columns.new_zeros(*columns.shape[:2], math.prod(padded)).index_add(2, flat, columns)
    made = made.reshape(*columns.shape[:2], *padded)
    for axis, size in enumerate(image):
        made = made.narrow(2 + axis, pads[axis], size)
    return made


def _sampled(image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear values of image [C, H, W] at y, x (any shape S) → [C, *S]; zero outside."""
    made = image.new_zeros(image.shape[0], *y.shape)
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = y.floor() + dy, x.floor() + dx
            weight = (1 - (y - row).abs()) * (1 - (x - column).abs())
            inside = (row >= 0) & (row < image.shape[1]) & (column >= 0) & (column < image.shape[2])
            at = row.clamp(0, image.shape[1] - 1).long(), column.clamp(0, image.shape[2] - 1).long()
            made = made + image[:, at[0], at[1]] * (weight * inside)
    return made


def deform_conv(
    node: Node, x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Dai et al. 2017, with modulation (Zhu et al. 2018), over two spatial axes."""
    kernel, groups, parts = list(weight.shape[2:]), node.get("group", 1), node.get("offset_group", 1)
    strides, dilations, pads = node.get("strides", [1, 1]), node.get("dilations", [1, 1]), node.get("pads", [0] * 4)
    taps, (height, width) = math.prod(kernel), offset.shape[2:]
    base = [
        (torch.arange(size) * strides[a])[None] + (torch.arange(kernel[a]) * dilations[a])[:, None] - pads[a]
        for a, size in enumerate((height, width))
    ]
    y = base[0][:, None, :, None].expand(*kernel, height, width).reshape(taps, height, width).to(x)
    z = base[1][None, :, None, :].expand(*kernel, height, width).reshape(taps, height, width).to(x)
    offsets = offset.reshape(x.shape[0], parts, taps, 2, height, width)
    rows = []
    for n, image in enumerate(x):
        pieces = [
            _sampled(piece, y + offsets[n, g, :, 0], z + offsets[n, g, :, 1])
            * (1 if mask is None else mask.reshape(x.shape[0], parts, taps, height, width)[n, g])
            for g, piece in enumerate(image.chunk(parts))
        ]
        rows.append(torch.cat(pieces))  # [C, taps, H, W]
    columns = torch.stack(rows).reshape(x.shape[0], groups, -1, height * width)
    split = weight.reshape(groups, weight.shape[0] // groups, -1)
    made = (split @ columns).reshape(x.shape[0], -1, height, width)
    return made if bias is None else made + bias.reshape(-1, 1, 1)


DETECTION = {
    "GridSample": op(grid_sample),
    "AffineGrid": op(affine_grid, sizes=[1]),
    "RoiAlign": op(roi_align, blind=[1, 2]),
    "NonMaxSuppression": host_op(non_max_suppression),
    "Col2Im": op(col2im, sizes=[1, 2]),
    "DeformConv": op(deform_conv, learned=[1, 3]),
}
