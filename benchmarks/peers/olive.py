"""Olive's automatic optimization of an ONNX file for the CPU, by its command line."""

import shutil
import subprocess
import sys
from pathlib import Path

SETTINGS = ("--precision", "int8", "--device", "cpu", "--provider", "CPUExecutionProvider")


def auto_opt(model: Path, artifact: Path) -> None:
    output = artifact.with_name("olive")
    command = [sys.executable, "-m", "olive", "auto-opt", "-m", str(model), "-o", str(output), *SETTINGS]
    subprocess.run(command, check=True)
    (found,) = output.rglob("*.onnx")
    shutil.move(found, artifact)
