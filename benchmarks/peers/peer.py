"""The tools that Whetstone is measured against, each with the settings it has when nobody chooses any."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.targets import Target
from workers.engine.targets.processor import computes_bf16


class Peer(StrEnum):
    """A fixed choice. `ort_u8s8` is the one that onnxruntime's own guide names for x86 with VNNI."""

    ORT_DYNAMIC = "ort_dynamic"
    ORT_STATIC = "ort_static"
    ORT_U8S8 = "ort_u8s8"
    OPENVINO = "openvino"
    NNCF = "nncf"
    OLIVE = "olive"


TITLES = {
    Peer.ORT_DYNAMIC: "onnxruntime, quantize_dynamic",
    Peer.ORT_STATIC: "onnxruntime, quantize_static (QDQ, MinMax)",
    Peer.ORT_U8S8: "the same, per channel, uint8 activations, int8 weights",
    Peer.OPENVINO: "OpenVINO, the model as it is",
    Peer.NNCF: "OpenVINO, nncf.quantize",
    Peer.OLIVE: "Olive, auto-opt --precision int8",
}


def openvino_by_default() -> Target:
    """OpenVINO computes in bfloat16 where the processor does, unless it is told otherwise."""
    return Target.OPENVINO_CPU_BF16 if computes_bf16() else Target.OPENVINO_CPU


def target_of(peer: Peer) -> Target:
    """The runtime that a peer's file is made for."""
    match peer:
        case Peer.ORT_DYNAMIC | Peer.ORT_STATIC | Peer.ORT_U8S8 | Peer.OLIVE:
            return Target.ONNXRUNTIME_CPU
        case Peer.OPENVINO | Peer.NNCF:
            return openvino_by_default()
        case _:
            assert_never(peer)


def calibration(data: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """The calibration split, one sample of batch 1 after the other, by input name."""
    with np.load(data, allow_pickle=False) as archive:
        names = [name for name in archive.files if name.startswith("calibration/") and not name.endswith("/labels")]
        arrays = {name.partition("/")[2]: archive[name] for name in names}
    for row in range(len(next(iter(arrays.values())))):
        yield {name: array[row : row + 1] for name, array in arrays.items()}
