"""What a library's error says, for people who did not call that library."""

import re

LENGTH = 300
NOISE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?\s*")
"""onnxruntime's error number, and the path of a file on this machine, which is nobody's business."""


def reason_of(error: Exception) -> str:
    """The first line that says something, without noise, at most 300 characters."""
    lines = [line for raw in str(error).splitlines() if (line := NOISE.sub("", raw.strip()))]
    return lines[0][:LENGTH] if lines else type(error).__name__
