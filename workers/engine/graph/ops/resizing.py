"""Resize and Upsample: every mode, as one matrix or order of positions per axis; torch's own where it is the same."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Host, Node, op

LINEAR_MODES = {3: "linear", 4: "bilinear", 5: "trilinear"}
HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")


@dataclass(frozen=True)
class _Axis:
    """How one axis is resized: from `old` to `new` places, `scale` times as many; `region` is that of a crop."""

    old: int
    new: int
    scale: float
    region: tuple[float, float]


def _origins(node: Node, axis: _Axis) -> Host:
    """Where each new place lies among the old ones."""
    x, old, new = np.arange(axis.new, dtype=np.float64), axis.old, axis.new
    mode = node.get("coordinate_transformation_mode", "asymmetric" if node.op == "Upsample" else "half_pixel")
    if mode == "asymmetric":
        return x / axis.scale
    if mode == "align_corners":
        length = axis.scale * old
        return x * 0 if length == 1 else x * (old - 1) / (length - 1)
    if mode == "tf_crop_and_resize":
        return _cropped(x, axis)
    if mode == "pytorch_half_pixel" and new == 1:
        return x * 0
    shift = old / 2 * (1 - new / (axis.scale * old)) if mode == "half_pixel_symmetric" else 0.0
    return np.asarray(shift + (x + 0.5) / axis.scale - 0.5)


def _cropped(x: Host, axis: _Axis) -> Host:
    """The places of a crop, given in shares of the axis."""
    start, end = axis.region
    if axis.new == 1:
        return x + 0.5 * (start + end) * (axis.old - 1)
    return start * (axis.old - 1) + x * (end - start) * (axis.old - 1) / (axis.new - 1)


def _nearest(node: Node, origins: Host, old: int) -> Host:
    rounding: dict[str, Callable[[Host], Host]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    mode = node.get("nearest_mode", "round_prefer_floor" if node.op == "Resize" else "floor")
    return np.asarray(np.clip(rounding[mode](origins), 0, old - 1), np.int64)


def _linear(distance: Host) -> Host:
    return np.asarray(np.clip(1 - distance, 0, 1))


def _cubic(distance: Host, a: float) -> Host:
    """Keys (1981), equation 15, with any coefficient."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))  # noqa: PLR2004 - the width of the kernel


def _matrix(node: Node, origins: Host, axis: _Axis) -> Host:
    """The weights [new, old] of a linear or cubic resize; beyond the edges the outermost value goes on."""
    is_cubic = node.get("mode", "nearest") == "cubic"
    shrink = min(axis.scale, 1.0) if node.get("antialias", 0) else 1.0
    reach = int(np.ceil((2 if is_cubic else 1) / shrink)) + 1
    places = np.floor(origins).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    distance = np.abs(places - origins[:, None]) * shrink
    weights = _cubic(distance, node.get("cubic_coeff_a", -0.75)) if is_cubic else _linear(distance)
    if node.get("exclude_outside", 0):
        weights = np.where((places >= 0) & (places < axis.old), weights, 0)
    weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((axis.new, axis.old))
    np.add.at(matrix, (np.arange(axis.new)[:, None], np.clip(places, 0, axis.old - 1)), weights)
    return matrix


def _resized(node: Node, x: Tensor, number: int, axis: _Axis) -> Tensor:
    origins = _origins(node, axis)
    if node.get("mode", "nearest") == "nearest":
        places = torch.from_numpy(_nearest(node, origins, axis.old)).to(x.device)
        made = x.index_select(number, places)
    else:
        matrix = torch.from_numpy(_matrix(node, origins, axis)).to(x.device, x.dtype)
        made = (x.movedim(number, -1) @ matrix.T).movedim(-1, number)
    if node.get("coordinate_transformation_mode", "") != "tf_crop_and_resize":
        return made
    outside = torch.from_numpy((origins < 0) | (origins > axis.old - 1)).to(x.device)
    outside = outside.reshape([-1 if i == number else 1 for i in range(x.dim())])
    return torch.where(outside, node.get("extrapolation_value", 0.0), made).to(made.dtype)


def _rounded(value: float) -> int:
    return int(np.floor(value + 0.5))


def _axes(
    node: Node, x: Tensor, roi: Tensor | None, scales: Tensor | None, sizes: list[int] | None
) -> dict[int, _Axis]:
    chosen = [axis % x.dim() for axis in node.get("axes", range(x.dim()))]
    old = [x.shape[axis] for axis in chosen]
    count = len(chosen)
    if sizes:
        factors = [new / was for new, was in zip(sizes, old, strict=True)]
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factors = [min(factors) if policy == "not_larger" else max(factors)] * count
            sizes = [_rounded(factor * was) for factor, was in zip(factors, old, strict=True)]
    else:
        factors = [] if scales is None else [float(factor) for factor in scales.tolist()]
        sizes = [int(np.floor(factor * was)) for factor, was in zip(factors, old, strict=True)]
    region = roi.tolist() if roi is not None and roi.numel() else [0.0] * count + [1.0] * count
    return {axis: _Axis(old[i], sizes[i], factors[i], (region[i], region[i + count])) for i, axis in enumerate(chosen)}


def _as_torch_does(node: Node, x: Tensor, axes: dict[int, _Axis]) -> Tensor | None:
    """By torch's own kernel, where it gives the same: linear, exact scales, spatial axes, no special wishes."""
    spatial = {number: axis for number, axis in axes.items() if axis.old != axis.new}
    plain = not any(node.get(key, 0) for key in ("antialias", "exclude_outside"))
    exact = all(axis.new == axis.scale * axis.old for axis in axes.values())
    if not spatial or min(spatial) < 2 or x.dim() not in LINEAR_MODES or not plain or not exact:  # noqa: PLR2004
        return None
    size = [axes[n].new if n in axes else x.shape[n] for n in range(2, x.dim())]
    where = node.get("coordinate_transformation_mode", "half_pixel")
    mode = node.get("mode", "nearest")
    if mode == "linear" and x.is_floating_point() and where in (*HALF_PIXEL, "align_corners"):
        if where == "pytorch_half_pixel" and 1 in size:
            return None
        return F.interpolate(x, size, mode=LINEAR_MODES[x.dim()], align_corners=where == "align_corners")
    if mode == "nearest" and x.is_floating_point() and all(_is_floored(node, axis) for axis in spatial.values()):
        return F.interpolate(x, size, mode="nearest")
    return None


def _is_floored(node: Node, axis: _Axis) -> bool:
    """Whether each new place takes the old one that plain scaling falls on, as torch has it."""
    if node.get("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return False
    floored = np.arange(axis.new) * axis.old // axis.new
    return np.array_equal(_nearest(node, _origins(node, axis), axis.old), floored)


def resize(
    node: Node, x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: list[int] | None = None
) -> Tensor:
    axes = _axes(node, x, roi, scales, sizes)
    fast = _as_torch_does(node, x, axes)
    if fast is not None:
        return fast
    made = x if x.is_floating_point() else x.double()
    for number, axis in axes.items():
        if axis.old != axis.new or axis.scale != 1 or axis.region != (0.0, 1.0):
            made = _resized(node, made, number, axis)
    return made if x.is_floating_point() else made.round().to(x.dtype)


def upsample(node: Node, x: Tensor, scales: Tensor) -> Tensor:
    return resize(node, x, None, scales)


RESIZING = {"Resize": op(resize, sizes=[3], blind=[1, 2]), "Upsample": op(upsample, blind=[1])}
