"""onnxruntime's own format: the graph as it is after optimization, loaded without protobuf and in small builds too."""

from collections.abc import Sequence
from pathlib import Path

from whetstone.contract.reports import ShapeRange
from workers.engine.targets.onnxruntime_cpu import OnnxRuntimeCpu, open_session, require_one_file, session_options

BOUND_TO_PROCESSOR = ["NchwcTransformer"]
"""Rewrites that only processors like this one can run: a delivered file must load on any."""


class OnnxRuntimeOrt(OnnxRuntimeCpu):
    suffix = ".ort"

    def convert(self, onnx: Path, artifact: Path, shapes: Sequence[ShapeRange] = ()) -> None:  # noqa: ARG002 - any will do
        require_one_file(onnx)
        options = session_options(1, self._settings)
        options.optimized_model_filepath = str(artifact)
        options.add_session_config_entry("session.save_model_format", "ORT")
        open_session(onnx, options, BOUND_TO_PROCESSOR)
