"""Starting a peer: in a process of its own, with a time limit, and nothing sent home."""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.peer import Peer, target_of
from benchmarks.scoreboard.packages import FOLDER, ROOT
from workers.engine.targets.choose import delivered_name

SILENT = {
    "CI": "true",  # OpenVINO's and Olive's telemetry stay off in CI
    "NNCF_CI": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
TELLING = 300


class PeerFailed(Exception):
    """The peer made nothing of the model; says why in its own words."""


def made_by(peer: Peer, model: Path, data: Path, folder: Path, seconds: float) -> Path:
    """The file that a peer makes of a model. Raises PeerFailed."""
    folder.mkdir(parents=True)
    artifact = (folder / delivered_name(target_of(peer))).resolve()
    command = [sys.executable, "-m", "benchmarks.peers", peer, model.resolve(), data.resolve(), artifact]
    search_path = os.pathsep.join([str(ROOT), str(FOLDER)])
    environment = os.environ | SILENT | {"PYTHONPATH": search_path, "HOME": str(folder.resolve())}
    log = folder / "log.txt"
    try:
        with log.open("w") as out:
            subprocess.run(command, env=environment, cwd=folder, stdout=out, stderr=out, timeout=seconds, check=True)
    except subprocess.TimeoutExpired:
        raise PeerFailed(f"not ready after {seconds:.0f} seconds") from None
    except subprocess.CalledProcessError as error:
        raise PeerFailed(_last_words(log, error.returncode)) from None
    if not artifact.exists():
        raise PeerFailed("it wrote no model")
    return artifact


def _last_words(log: Path, status: int) -> str:
    """The exception's line, else how the process ended."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    errors = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception", "Fail", "InvalidGraph"))]
    return (errors or [f"ended with status {status}"])[-1][:TELLING]
