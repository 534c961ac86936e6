"""The engine: files in, files out. Nothing it loads may send anything to anyone."""

import os
import sys

# The official Linux build of onnxruntime sends its maker the names, hashes and shapes of the models it loads, unless
# it finds this when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# `import openvino` itself sends an event, and takes a missing consent file for consent. Without this package it falls
# back to a stub that sends nothing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # Python's way to say "cannot be imported"
