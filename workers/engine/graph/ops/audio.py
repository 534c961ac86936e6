"""The front ends of audio models: windows, Fourier transforms, mel filters."""

import numpy as np
import torch
from onnx import helper
from torch import Tensor

from workers.engine.graph.ops.node import Host, Node, Run, host_op, op

AXIS_IS_INPUT = 20
"""From this opset on the axis of a DFT is an input, and the last axis of the signal by default."""


def _window(*weights: float) -> Run:
    """A sum of cosines; `periodic` ones lack the last point, so that they can be laid end to end."""

    def run(node: Node, size: Host) -> Host:
        count = int(size.item())
        period = count if node.get("periodic", 1) else count - 1
        angle = 2 * np.pi * np.arange(count) / period
        made = sum(weight * np.cos(number * angle) for number, weight in enumerate(weights))
        return np.asarray(made).astype(helper.tensor_dtype_to_np_dtype(node.get("output_datatype", 1)))

    return run


def _complex(x: Tensor) -> Tensor:
    """[…, 1] real or […, 2] real and imaginary → […] complex (bfloat16 has no complex numbers)."""
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    return torch.complex(wide[..., 0], wide[..., 1] if wide.shape[-1] == 2 else torch.zeros_like(wide[..., 0]))  # noqa: PLR2004


def dft(node: Node, x: Tensor, length: list[int] | None = None, axis: list[int] | None = None) -> Tensor:
    """Along one axis; `onesided` keeps the half that a real signal needs."""
    default = -2 if node.opset >= AXIS_IS_INPUT else 1
    where = (axis[0] if axis else node.get("axis", default)) % x.dim()
    size, is_inverse, is_half = length[0] if length else None, node.get("inverse", 0), node.get("onesided", 0)
    if is_inverse and is_half:
        wide: Tensor = torch.fft.irfft(_complex(x), size, where)
        return wide.unsqueeze(-1).to(x.dtype)
    values = _complex(x)
    made = torch.fft.ifft(values, size, where) if is_inverse else torch.fft.fft(values, size, where)
    if is_half:
        made = made.narrow(where, 0, made.shape[where] // 2 + 1)
    return torch.view_as_real(made).to(x.dtype)


def stft(
    node: Node, signal: Tensor, step: list[int], window: Tensor | None = None, length: list[int] | None = None
) -> Tensor:
    """Signal [N, L, 1 or 2] → [N, frames, bins, 2]."""
    values = _complex(signal) if signal.shape[-1] == 2 else signal.reshape(signal.shape[:2])  # noqa: PLR2004
    size = length[0] if length else window.numel() if window is not None else values.shape[1]
    frames = values.unfold(1, size, step[0])
    frames = frames if window is None else frames * window
    half = node.get("onesided", 1) and not frames.is_complex()
    made = torch.fft.rfft(frames) if half else torch.fft.fft(frames)
    return torch.view_as_real(made).to(signal.dtype)


def mel_weights(node: Node, bins: Host, length: Host, rate: Host, low: Host, high: Host) -> Host:
    """Triangular filters [DFT bins, mel bins], equally spaced on the mel scale (the upper edge excluded)."""
    count, spectrum = int(bins.item()), int(length.item()) // 2 + 1
    mels = 2595 * np.log10(1 + np.array([low.item(), high.item()]) / 700)
    centers = 700 * (10 ** (np.linspace(mels[0], mels[1], count + 2, endpoint=False) / 2595) - 1)
    edges = ((int(length.item()) + 1) * centers // int(rate.item())).astype(np.int64)
    made = np.zeros((spectrum, count))
    for mel in range(count):
        start, middle, end = edges[mel : mel + 3]
        made[start:middle, mel] = (np.arange(start, middle) - start) / max(middle - start, 1)
        made[middle:end, mel] = (end - np.arange(middle, end)) / max(end - middle, 1)
        made[middle, mel] = 1
    return made.astype(helper.tensor_dtype_to_np_dtype(node.get("output_datatype", 1)))


AUDIO = {
    "HannWindow": host_op(_window(0.5, -0.5)),
    "HammingWindow": host_op(_window(25 / 46, -21 / 46)),
    "BlackmanWindow": host_op(_window(0.42, -0.5, 0.08)),
    "DFT": op(dft, sizes=[1, 2]),
    "STFT": op(stft, sizes=[1, 3]),
    "MelWeightMatrix": host_op(mel_weights),
}
