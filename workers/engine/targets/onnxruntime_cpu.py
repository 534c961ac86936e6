"""onnxruntime on the CPU: the delivered file is the ONNX file itself."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime as ort

from whetstone.contract.reports import OperatorTime, ShapeRange
from whetstone.contract.targets import AS_USUAL, GraphOptimization, RuntimeSettings
from workers.engine.targets.runtime import (
    PROFILED_RUNS,
    Array,
    Arrays,
    ProviderFellBack,
    Session,
    TargetBuildFailed,
    contiguous,
    first_line,
)

PROVIDER = "CPUExecutionProvider"
ERRORS_ONLY = 3

PRECISIONS = {"float": "f32", "float16": "f16", "bfloat16": "bf16", "double": "f64"}
"""How onnxruntime's profile writes types, and how this engine does; integers are shortened by rule."""

COMPUTES_IN_INT8 = ("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat")
"""Fused operators that take float tensors and multiply 8-bit integers inside."""


LEVELS = {
    GraphOptimization.ALL: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    GraphOptimization.EXTENDED: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    GraphOptimization.BASIC: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
}


class OnnxRuntimeCpu:
    suffix = ".onnx"
    media_type = "application/octet-stream"

    def __init__(self, settings: RuntimeSettings = AS_USUAL) -> None:
        self._settings = settings

    def convert(self, onnx: Path, artifact: Path, shapes: Sequence[ShapeRange] = ()) -> None:  # noqa: ARG002 - any will do
        require_one_file(onnx)
        shutil.copyfile(onnx, artifact)

    def unpack(self, artifact: Path, folder: Path) -> Path:  # noqa: ARG002
        return artifact

    def load(self, file: Path, threads: int) -> Session:
        return OrtSession(open_session(file, session_options(threads, self._settings)), self._settings.streams or 1)

    def operators(self, file: Path, inputs: Arrays, threads: int, scratch: Path) -> tuple[OperatorTime, ...]:
        options = session_options(threads, self._settings)
        options.enable_profiling = True
        options.profile_file_prefix = str(scratch / "profile")
        session = open_session(file, options)
        feed = contiguous(inputs)
        for _ in range(1 + PROFILED_RUNS):
            session.run(None, feed)
        written = Path(session.end_profiling())
        events = json.loads(written.read_text())
        written.unlink()
        return _operator_times(events)


class OrtSession:
    def __init__(self, session: Any, streams: int) -> None:
        self._session, self._streams = session, streams
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, inputs: Arrays) -> dict[str, Array]:
        return dict(zip(self._outputs, self._session.run(self._outputs, contiguous(inputs)), strict=True))

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        feed = contiguous(inputs)
        if self._streams == 1:
            return lambda: self._session.run(self._outputs, feed)
        pool = ThreadPoolExecutor(self._streams)

        def call() -> object:
            runs = [pool.submit(self._session.run, self._outputs, feed) for _ in range(self._streams)]
            return [run.result() for run in runs]

        return call


def session_options(threads: int, settings: RuntimeSettings) -> Any:
    """Options with the number of threads inside one operator; operators run one after the other.

    The threads of a session serve all that call it: with streams each brings its own, and the session adds the rest.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = max(1, (settings.threads or threads) // (settings.streams or 1))
    options.inter_op_num_threads = 1
    options.graph_optimization_level = LEVELS[settings.graph_optimization or GraphOptimization.ALL]
    options.log_severity_level = ERRORS_ONLY
    return options


def require_one_file(onnx: Path) -> None:
    """Raises: TargetBuildFailed."""
    if onnx.with_name(f"{onnx.name}.data").exists():
        raise TargetBuildFailed("The model is larger than 2 GiB, more than one ONNX file can hold.")


def open_session(file: Path, options: Any, without: Sequence[str] = ()) -> Any:
    """A session on the CPU, of whose optimizers some are left out. Raises: TargetBuildFailed, ProviderFellBack."""
    try:
        session = ort.InferenceSession(str(file), options, providers=[PROVIDER], disabled_optimizers=list(without))
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        raise TargetBuildFailed(f"onnxruntime cannot load the model: {first_line(error)}") from error
    if session.get_providers() != [PROVIDER]:
        raise ProviderFellBack(f"onnxruntime runs on {session.get_providers()} instead of {PROVIDER}")
    return session


def _operator_times(events: list[dict[str, Any]]) -> tuple[OperatorTime, ...]:
    """Group a profile's kernel events by node; the first run of each is warm-up."""
    runs: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event["name"].endswith("_kernel_time"):
            runs[int(event["args"]["node_index"]), event["name"]].append(event)
    return tuple(_operator_time(name, seen) for (_, name), seen in sorted(runs.items()))


def _operator_time(name: str, seen: list[dict[str, Any]]) -> OperatorTime:
    microseconds = [event["dur"] for event in seen[-PROFILED_RUNS:]]
    facts = seen[-1]["args"]
    return OperatorTime(
        name=name.removesuffix("_kernel_time"),
        op=facts["op_name"],
        ms=sum(microseconds) / len(microseconds) / 1000,
        unit=facts["provider"],
        precision=_precision(facts),
    )


def _precision(facts: dict[str, Any]) -> str:
    """The type an operator computes in: that of its first input, or of its output where it has none."""
    if facts["op_name"] in COMPUTES_IN_INT8:
        return "i8"
    types = [kind for tensor in (*facts["input_type_shape"], *facts["output_type_shape"]) for kind in tensor]
    first = types[0] if types else "unknown"
    return PRECISIONS.get(first, first.replace("uint", "u").replace("int", "i"))
