"""What is shut in sees its own folder and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.engine.toolkits import jail

pytestmark = pytest.mark.skipif(jail.why_not() is not None, reason=f"nothing can be shut in here: {jail.why_not()}")

TRIES = """
import ctypes, json, os, pathlib, signal, socket, sys
done = []
def attempt(name, do):
    try:
        do()
    except (OSError, ValueError):
        return
    done.append(name)
outside, parent = sys.argv[1:]
assert os.getpid() == 1 and os.getuid() == 1000, "outside these would do harm"
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno())
attempt("its own folder", lambda: open("mine", "w"))
attempt("reads another file", lambda: open(outside).read())
attempt("reads accounts", lambda: open("/etc/passwd").read())
attempt("writes outside", lambda: open("/usr/here", "w"))
attempt("writes on the root", lambda: open("/here", "w"))
attempt("link to another file", lambda: (os.symlink(outside, "link"), open("link").read()))
attempt("the parent's root", lambda: os.listdir(f"/proc/{parent}/root"))
attempt("the parent's memory", lambda: open(f"/proc/{parent}/mem", "rb"))
attempt("signals the parent", lambda: os.kill(int(parent), 0))
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 16, 40):
    attempt(f"socket {family}", lambda family=family: socket.socket(family, socket.SOCK_DGRAM))
attempt("ptrace", lambda: call(101, 16, 1, 0, 0))
attempt("io_uring", lambda: call(425, 1, ctypes.create_string_buffer(120)))
attempt("mount", lambda: call(165, b"none", b"/dev", b"tmpfs", 0, None))
attempt("unshare", lambda: call(272, 0x10000000))
attempt("another root", lambda: os.chroot("/proc"))
attempt("becomes root", lambda: os.setuid(0))
attempt("32 bit calls", lambda: call(0x40000000 + 41, 2, 1, 0))
pathlib.Path("told.json").write_text(json.dumps(done))
"""


def test_nothing_gets_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    program = [sys.executable, "-I", "-c", TRIES, str(tmp_path / "secret"), str(os.getpid())]
    done = subprocess.run([*jail.command(inside, ()), *program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((inside / "told.json").read_text()) == ["its own folder"]


@pytest.mark.parametrize("status", [0, 3])
def test_the_end_is_passed_on(tmp_path: Path, status: int) -> None:
    program = [sys.executable, "-I", "-c", f"raise SystemExit({status})"]
    assert subprocess.run([*jail.command(tmp_path, ()), *program], check=False).returncode == status


def test_a_crash_is_passed_on(tmp_path: Path) -> None:
    program = [sys.executable, "-I", "-c", "import ctypes; ctypes.string_at(0)"]
    assert subprocess.run([*jail.command(tmp_path, ()), *program], check=False, capture_output=True).returncode == -11
