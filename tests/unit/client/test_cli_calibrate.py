"""`whet calibrate` without the packages that it needs."""

import subprocess
import sys
from pathlib import Path


def test_what_to_install_is_told(tmp_path: Path) -> None:
    for name in ("model.onnx", "data.npz"):
        (tmp_path / name).touch()
    code = "import sys; sys.modules['onnxruntime'] = None; from whetstone.cli import main; main()"
    command = [sys.executable, "-c", code, "calibrate", str(tmp_path / "model.onnx"), str(tmp_path / "data.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'whetstone[calibrate]'" in done.stderr
