"""TensorRT-RTX: engines for NVIDIA's GPUs, built ahead of time on a machine that has none.

Networks are strongly typed: an engine computes in the types that the graph has, float16 where it was halved, int8 and
fp8 where it has QuantizeLinear/DequantizeLinear pairs.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from whetstone.contract.reports import EngineKey, ShapeRange
from whetstone.contract.toolkits import Toolkit
from workers.engine.graph.graph import name_of
from workers.engine.graph.tensors import all_nodes, all_tensors
from workers.engine.targets import tensorrt_build
from workers.engine.targets.builder import Built, OperatorRefused, ToolkitMissing
from workers.engine.targets.runtime import TargetBuildFailed
from workers.engine.targets.tensorrt_words import IN_FORM, NARROWED, failure_of, kernels_in, notes_in
from workers.engine.toolkits.environments import is_built, place_of, python_in

MODULE = "tensorrt_rtx"
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")


class TensorRtRtx:
    """Builds for NVIDIA's GPUs of one compute capability: `sm89` is 8.9."""

    suffix = ".engine"
    media_type = "application/octet-stream"

    def __init__(self, capability: str) -> None:
        self._capability = capability

    def build(self, onnx: Path, engine: Path, shapes: Sequence[ShapeRange], scratch: Path) -> Built:
        names = _checked(onnx)
        asked = {
            "module": MODULE,
            "onnx": str(onnx.absolute()),
            "engine": str(engine.absolute()),
            "capability": self._capability.upper(),
            "shapes": {each.input: (each.least, each.usual, each.most) for each in shapes},
        }
        answer = _in_toolkit(asked, scratch)
        if not answer["built"]:
            raise failure_of(answer, names)
        return Built(
            key=EngineKey(runtime=Toolkit.TENSORRT_RTX, version=answer["version"], compute_capability=self._capability),
            seconds=answer["seconds"],
            kernels=tuple(kernels_in(answer["layers"])),
            notes=tuple(notes_in(answer["log"])),
        )


def _checked(path: Path) -> list[str]:
    """The names of the graph's nodes, once nothing is in it that the parser would take and compute in fewer bits: uint8
    with a zero point of 0 as int8, float64 as float32.

    Raises: OperatorRefused.
    """
    model = onnx.load(path, load_external_data=False)
    types = {tensor.name: tensor.data_type for tensor in all_tensors(model)}
    for node in all_nodes(model):
        points = node.input[2:3]
        if node.op_type in QUANTIZING and any(types.get(point) == onnx.TensorProto.UINT8 for point in points):
            told = f"{node.op_type} '{name_of(node)}' is in uint8, and TensorRT would read it as int8."
            raise OperatorRefused(told, layer=name_of(node), hint=IN_FORM)
    values = [*model.graph.input, *model.graph.output]
    doubles = [value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE]
    doubles += [name for name, kind in types.items() if kind == onnx.TensorProto.DOUBLE]
    if doubles:
        raise OperatorRefused(f"'{doubles[0]}' is in float64, and TensorRT would compute it in float32.", hint=NARROWED)
    return [name_of(node) for node in model.graph.node]


def _in_toolkit(asked: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """What the toolkit's Python makes of the request. Raises: ToolkitMissing, TargetBuildFailed."""
    if not is_built(Toolkit.TENSORRT_RTX):
        raise ToolkitMissing(Toolkit.TENSORRT_RTX)
    request, answer = scratch / "build-request.json", scratch / "build-answer.json"
    request.write_text(json.dumps(asked))
    answer.unlink(missing_ok=True)
    command = [str(python_in(place_of(Toolkit.TENSORRT_RTX))), "-I", tensorrt_build.__file__, str(request), str(answer)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0 or not answer.exists():
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with status {done.returncode}"]
        raise TargetBuildFailed(f"TensorRT-RTX broke off: {last[0][:300]}")
    found: dict[str, Any] = json.loads(answer.read_text())
    return found
