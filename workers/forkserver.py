"""A warm process that forks a child for each step, so that no step pays the import of torch and the runtimes.

Started by `workers.sandbox` as `python -m workers.forkserver FD`, with the Python of the environment that the step
needs. On the socket FD it receives, per step, one JSON line (the path of the request and the limits) together with
the write end of a pipe; it answers `{"pid": …}` and, when the child has ended, `{"status": …}` (a wait status).
It never parses a tenant's file itself. Nothing is pickled in either direction.
"""

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from workers.engine.run import serve

MAX_LINE = 65_536
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_LIBC = ctypes.CDLL(None)
OPEN_FILES = 1024


def main(descriptor: int) -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    control = socket.socket(fileno=descriptor)
    gc.freeze()  # what is imported now is shared with every child and need not be looked at again
    control.sendall(b'{"ready": true}\n')
    while True:
        line, pipes, _, _ = socket.recv_fds(control, MAX_LINE, 1)
        if not line:
            return
        call, pipe = json.loads(line), pipes[0]
        pid = os.fork()
        if pid == 0:
            control.close()
            _child(call, pipe)
        os.close(pipe)
        _answer(control, pid=pid)
        _, status = os.waitpid(pid, 0)
        _answer(control, status=status)


def _answer(control: socket.socket, **fields: int) -> None:
    control.sendall(json.dumps(fields).encode() + b"\n")


def _child(call: dict[str, Any], pipe: int) -> None:
    """Never returns: a forked child that fell back into the server's loop would be a second server."""
    code = 70
    with contextlib.suppress(BaseException):
        _confine(Path(call["scratch"]), call["memory"], call["file_size"])
        serve(Path(call["request"]), pipe)
        code = 0
    os._exit(code)


def _confine(scratch: Path, memory: int, file_size: int) -> None:
    """A session of its own, no terminal, its output in a file, and hard limits. The full jail builds on this."""
    os.setsid()
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.chdir(scratch)
    output = os.open("output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable(all_threads=False)
    # RLIMIT_DATA and not RLIMIT_AS: address space counts mapped weights and thread stacks, which are no memory.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


if __name__ == "__main__":
    main(int(sys.argv[1]))
