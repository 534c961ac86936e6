"""From PyTorch to ONNX, with the exporter that needs no further package."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 17


def export(
    net: nn.Module,
    examples: Sequence[Tensor],
    path: Path,
    *,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("logits",),
    batch_norm_apart: bool = False,
) -> Path:
    """A model for inference, with a free batch axis. Returns `path`.

    Batch-norm is folded into convolutions, as is usual, unless it is to stay a node of its own, as learning likes it.
    """
    apart = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False} if batch_norm_apart else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter calls itself old
        torch.onnx.export(
            net.eval(), tuple(examples), str(path), dynamo=False, opset_version=OPSET, input_names=list(inputs),
            output_names=list(outputs), dynamic_axes={name: {0: "N"} for name in (*inputs, *outputs)}, **apart,
        )  # fmt: skip
    return path
