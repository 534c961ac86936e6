"""onnxruntime's own quantizers, as its guide calls them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.peers.peer import calibration


class _Reader(CalibrationDataReader):
    def __init__(self, data: Path) -> None:
        self._samples: Iterator[dict[str, NDArray[Any]]] = calibration(data)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._samples, None)


def dynamic(model: Path, artifact: Path) -> None:
    quantize_dynamic(model, artifact)


def static(model: Path, data: Path, artifact: Path) -> None:
    quantize_static(_prepared(model, artifact), artifact, _Reader(data))


def u8s8(model: Path, data: Path, artifact: Path) -> None:
    quantize_static(
        _prepared(model, artifact),
        artifact,
        _Reader(data),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _prepared(model: Path, artifact: Path) -> Path:
    """The step before that the guide asks for; where it fails, without the part that it says may be left out."""
    prepared = artifact.with_name("prepared.onnx")
    try:
        quant_pre_process(model, prepared)
    except Exception:  # noqa: BLE001 - it fails in many ways on shapes that it cannot tell
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
    return prepared
