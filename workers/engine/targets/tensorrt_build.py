"""Build an engine with TensorRT (11, or 10 from 10.0 on) or TensorRT-RTX: both have the same interface.

    python -I tensorrt_build.py REQUEST.json ANSWER.json

is run by the Python of their toolkit, which holds neither this package nor onnx. The request names the `module`
(`tensorrt` or `tensorrt_rtx`), the `onnx` file, the `engine` to write, the `capability` to build for (`SM89`; null for
the GPU of this machine) and for each input of `shapes` the least, the usual and the largest shape. The answer has the
`version`, whether it was `built`, the `errors` of the parser (each with its node, that node's index, op and text), what
was logged from warnings on (`log`), the engine's `layers` as the builder writes them, and the `seconds` that all took.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

LAYERS = "Layers:"
"""How the message begins in which the builder lists what it made."""


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Parse and build; the engine is written only if both go well."""
    trt = import_module(request["module"])
    began, log = time.monotonic(), _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_flags(trt))
    parser = trt.OnnxParser(network, log)
    plan = None
    if parser.parse_from_file(request["onnx"]):
        plan = builder.build_serialized_network(network, _config(trt, builder, request))
    if plan is not None:
        Path(request["engine"]).write_bytes(plan)
    return {
        "version": trt.__version__,
        "built": plan is not None,
        "errors": [_error(parser.get_error(number)) for number in range(parser.num_errors)],
        "log": log.lines,
        "layers": log.layers,
        "seconds": time.monotonic() - began,
    }


def _log(trt: Any) -> Any:
    """A logger that keeps warnings, errors, and the list of layers."""

    class Log(trt.ILogger):  # type: ignore[misc] # its base is known only where TensorRT is
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[dict[str, str]] = []
            self.layers = ""

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.WARNING:
                self.lines.append({"severity": severity.name, "text": message})
            elif message.startswith(LAYERS):
                self.layers += message

    return Log()


def _flags(trt: Any) -> int:
    """Strongly typed: TensorRT 10 has to be told, 11 and RTX know nothing else."""
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if strongly_typed is None else 1 << int(strongly_typed)


def _config(trt: Any, builder: Any, request: dict[str, Any]) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    for name, shapes in request["shapes"].items():
        profile.set_shape(name, *shapes)
    config.add_optimization_profile(profile)
    if request["capability"] is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, request["capability"]), 0)
    return config


def _error(error: Any) -> dict[str, Any]:
    return {
        "index": error.node(),
        "node": error.node_name(),
        "op": error.node_operator(),
        "text": error.desc(),
    }


if __name__ == "__main__":
    asked, answered = map(Path, sys.argv[1:])
    answered.write_text(json.dumps(build(json.loads(asked.read_text()))))
