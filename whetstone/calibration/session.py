"""Running a graph in onnxruntime: to check it, and to look into it. Not for measuring."""

from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort

from whetstone.calibration.arrays import Array

ERRORS_ONLY = 3


class Session:
    """A graph, from its file or its bytes, loaded by onnxruntime on the CPU."""

    def __init__(self, source: Path | bytes, *, threads: int = 1, optimized: bool = True) -> None:
        """Raises what onnxruntime raises for a graph that it cannot load."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            options,
            providers=["CPUExecutionProvider"],
            enable_fallback=0,
        )  # the fallback prints to stdout and tries the same provider again
        self.outputs: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name. Raises what onnxruntime raises."""
        return dict(zip(self.outputs, self._session.run(None, dict(inputs)), strict=True))
