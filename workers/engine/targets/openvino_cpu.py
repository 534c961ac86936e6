"""OpenVINO on the CPU: the delivered file is a zip of its IR, `model.xml` and `model.bin`."""

import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import openvino as ov

from whetstone.contract.reports import OperatorTime, ShapeRange
from whetstone.contract.targets import AS_USUAL, RuntimeSettings
from workers.engine.targets.processor import computes_bf16
from workers.engine.targets.runtime import (
    PROFILED_RUNS,
    Array,
    Arrays,
    PrecisionNotOffered,
    Session,
    TargetBuildFailed,
    contiguous,
    first_line,
)

DEVICE = "CPU"
PARTS = ("model.xml", "model.bin")
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold: the same model must give the same bytes."""

NOT_RUN = "not_executed"
UNKNOWN_OPS = "No conversion rule found for operations:"


class Precision(StrEnum):
    """What OpenVINO computes floats in. Left alone it takes bf16 where it can, so it is always told."""

    F32 = "f32"
    BF16 = "bf16"


def unreadable(onnx: Path) -> tuple[str, tuple[str, ...]] | None:
    """Why OpenVINO cannot read a model, and the operators it does not know; None where it can."""
    try:
        ov.Core().read_model(onnx)
    except RuntimeError as error:
        told = [line.partition(UNKNOWN_OPS) for line in str(error).splitlines() if UNKNOWN_OPS in line]
        ops = tuple(op.strip() for _, _, names in told for op in names.split(","))
        return first_line(error), ops
    return None


class OpenVinoCpu:
    suffix = ".zip"
    media_type = "application/zip"

    def __init__(self, precision: Precision, settings: RuntimeSettings = AS_USUAL) -> None:
        self.precision = precision
        self._settings = settings

    def convert(self, onnx: Path, artifact: Path, shapes: Sequence[ShapeRange] = ()) -> None:  # noqa: ARG002 - any will do
        self._require_precision()
        xml = artifact.with_suffix(".xml")
        try:
            model = ov.Core().read_model(onnx)
            _name_by_place(model)
            ov.save_model(model, xml, compress_to_fp16=False)
        except RuntimeError as error:
            raise TargetBuildFailed(f"OpenVINO cannot convert the model: {first_line(error)}") from error
        _pack(xml, artifact)

    def unpack(self, artifact: Path, folder: Path) -> Path:
        with zipfile.ZipFile(artifact) as archive:
            for part in PARTS:
                archive.extract(part, folder)
        return folder / PARTS[0]

    def load(self, file: Path, threads: int) -> Session:
        model = self._read(file)
        names = [frozenset(port.get_names()) for port in model.outputs]
        return OvSession(self._compile(model, threads), names, self._settings.streams or 1)

    def operators(self, file: Path, inputs: Arrays, threads: int, scratch: Path) -> tuple[OperatorTime, ...]:  # noqa: ARG002
        compiled = self._compile(self._read(file), threads, PERF_COUNT=True)
        request = compiled.create_infer_request()
        for _ in range(1 + PROFILED_RUNS):
            request.infer(contiguous(inputs))
        return tuple(_operator_time(node) for node in _executed(compiled.get_runtime_model().get_ordered_ops()))

    def _read(self, file: Path) -> Any:
        try:
            return ov.Core().read_model(file)
        except RuntimeError as error:
            raise TargetBuildFailed(f"OpenVINO cannot load the model: {first_line(error)}") from error

    def _compile(self, model: Any, threads: int, **more: object) -> Any:
        self._require_precision()
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision.value,
            "PERFORMANCE_HINT": "LATENCY" if self._settings.streams is None else "THROUGHPUT",
            "NUM_STREAMS": self._settings.streams or 1,
            "INFERENCE_NUM_THREADS": self._settings.threads or threads,
            "ENABLE_CPU_PINNING": True,
        }
        try:
            return ov.Core().compile_model(model, DEVICE, settings | more)
        except RuntimeError as error:
            raise TargetBuildFailed(f"OpenVINO cannot load the model: {first_line(error)}") from error

    def _require_precision(self) -> None:
        if self.precision is Precision.BF16 and not computes_bf16():
            raise PrecisionNotOffered("This processor has no native bfloat16.")


class OvSession:
    def __init__(self, compiled: Any, names: Sequence[frozenset[str]], streams: int) -> None:
        """`names` are those of each output in the model: compiled, it is also called as the tensors merged into it."""
        self._outputs = list(zip(names, compiled.outputs, strict=True))
        self._requests = [compiled.create_infer_request() for _ in range(streams)]

    def run(self, inputs: Arrays) -> dict[str, Array]:
        found = self._requests[0].infer(contiguous(inputs))
        return {name: found[port] for names, port in self._outputs for name in names}

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        for request in self._requests:
            for name, array in contiguous(inputs).items():
                request.set_tensor(name, ov.Tensor(array))
        if len(self._requests) == 1:
            infer: Callable[[], object] = self._requests[0].infer
            return infer
        return self._infer_all

    def _infer_all(self) -> None:
        for request in self._requests:
            request.start_async()
        for request in self._requests:
            request.wait()


def _name_by_place(model: Any) -> None:
    """Operators that the model did not name get a number that counts on within a process: count anew instead."""
    for place, operator in enumerate(model.get_ordered_ops()):
        if operator.get_friendly_name() == operator.get_name():
            operator.set_friendly_name(f"{operator.get_type_name()}_{place}")


def _pack(xml: Path, artifact: Path) -> None:
    """Move both parts of the IR into one archive, stored without compression."""
    with zipfile.ZipFile(artifact, "w", zipfile.ZIP_STORED) as archive:
        for part, file in zip(PARTS, (xml, xml.with_suffix(".bin")), strict=True):
            with (
                archive.open(zipfile.ZipInfo(part, LONG_AGO), "w", force_zip64=True) as into,
                file.open("rb") as source,
            ):
                shutil.copyfileobj(source, into)
            file.unlink()


def _executed(nodes: list[Any]) -> Iterator[Any]:
    """Nodes that run in every call: what depends on constants alone is done once, at the first."""
    constant: set[str] = set()
    for node in nodes:
        parents = {value.get_node().get_friendly_name() for value in node.input_values()}
        if _fact(node, "layerType") == "Const" or (parents and parents <= constant):
            constant.add(node.get_friendly_name())
        elif _fact(node, "execTimeMcs") != NOT_RUN:
            yield node


def _fact(node: Any, key: str) -> str:
    return str(node.get_rt_info()[key].astype(str))


def _operator_time(node: Any) -> OperatorTime:
    return OperatorTime(
        name=node.get_friendly_name(),
        op=_fact(node, "layerType"),
        ms=int(_fact(node, "execTimeMcs")) / 1000,
        unit=DEVICE,
        precision=_fact(node, "runtimePrecision"),
    )
