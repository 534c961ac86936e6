"""Start a program that can reach nothing but one folder: no network, no other file or process, no further rights.

`python -I jail.py FOLDER READABLE COMMAND…`, where READABLE are paths joined by colons. The program runs in new user,
mount, network, process and IPC namespaces (namespaces(7)), on a root that holds FOLDER and, read-only, what is
readable; as a user without capabilities; system calls that open sockets, look into other processes or change any of
this fail (seccomp(2)). Its limits are those of the process that starts it. Ends with 125 where the system does not
allow that.

Only the standard library is used: this runs before anything can be imported from elsewhere.
"""

import ctypes
import os
import platform
import signal
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NoReturn

NOT_JAILED = 125
MACHINE = "x86_64"
"""The numbers of system calls differ between machines; elsewhere nothing is promised."""

NEW_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
"""Mount, UTS, IPC, user, PID, network."""
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
SYS_PIVOT_ROOT, SYS_MOUNT_SETATTR = 155, 442
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
ATTR_READ_ONLY, ATTR_NO_SETUID, ATTR_NO_DEVICES = 1, 2, 4
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 1, 38, 22, 2
AUDIT_ARCH_X86_64 = 0xC000003E
X32 = 0x40000000
ALLOW, FAIL = 0x7FFF0000, 0x00050001
"""Go on; or fail with EPERM."""
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06

FORBIDDEN = (
    *(41, 53, 101, 310, 311, 312),  # socket, socketpair, ptrace, process_vm_readv, _writev, kcmp
    *(165, 166, 155, 272, 308, 161),  # mount, umount2, pivot_root, unshare, setns, chroot
    *(428, 429, 430, 431, 432, 433, 442),  # open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
    *(246, 320, 175, 313, 176, 169),  # kexec_load, kexec_file_load, init_module, finit_module, delete_module, reboot
    *(248, 249, 250, 298, 321, 323),  # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd
    *(303, 304, 425, 426, 427, 438),  # name_to_handle_at, open_by_handle_at, io_uring_*, pidfd_getfd
)
DEVICES = (Path("/dev/null"), Path("/dev/zero"), Path("/dev/urandom"), Path("/dev/random"))
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/sys/devices/system/cpu")
"""What programs need to start; no user's files and no configuration are among it."""

ROOT = Path("/proc")
"""A folder that is there everywhere and holds nothing that is shown: the new root is made on top of it."""
USER = 1000
_TRY = """
import os, socket, sys
try:
    socket.socket()
except PermissionError:
    sys.exit("other files are to be seen" if os.path.exists("/etc/passwd") else 0)
sys.exit("sockets can be opened")
"""

_libc = ctypes.CDLL(None, use_errno=True)


@cache
def why_not() -> str | None:
    """Why a program cannot be shut in here; None where it can. Tries it, once in a process."""
    if platform.machine() != MACHINE:
        return f"it is known for {MACHINE} alone"
    with tempfile.TemporaryDirectory() as folder:
        asked = [*command(Path(folder), ()), sys.executable, "-I", "-S", "-c", _TRY]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]


def command(folder: Path, readable: tuple[Path, ...]) -> list[str]:
    """The beginning of a command line that shuts in what follows it."""
    python = (Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1])
    paths = ":".join(map(str, (*readable, *python)))
    return [sys.executable, "-I", "-S", "-B", __file__, str(folder.resolve()), paths]


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: Path, kind: str | None, flags: int) -> None:
    given = [None if part is None else part.encode() for part in (source, str(target), kind)]
    _check(_libc.mount(*given, ctypes.c_ulong(flags), None), f"mount {source} at {target}")


def _enter_namespaces() -> None:
    """What it makes belongs to the user who starts it, whom it takes for another without rights."""
    user, group = os.getuid(), os.getgid()
    _check(_libc.unshare(NEW_NAMESPACES), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{USER} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{USER} {group} 1")


def _build_root(folder: Path, readable: list[Path]) -> None:
    _mount("none", Path("/"), None, MS_REC | MS_PRIVATE)
    shown = [path for path in readable if path.exists()]
    _mount("none", ROOT, "tmpfs", MS_NOSUID | MS_NODEV)
    for path in shown:
        _show(path, ATTR_READ_ONLY | ATTR_NO_SETUID | (0 if path in DEVICES else ATTR_NO_DEVICES))
    _show(folder, ATTR_NO_SETUID | ATTR_NO_DEVICES)
    (ROOT / "proc").mkdir()
    _mount("none", ROOT / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    (ROOT / "old").mkdir()
    _check(_libc.syscall(SYS_PIVOT_ROOT, bytes(ROOT), bytes(ROOT / "old")), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/old", MNT_DETACH), "umount")
    Path("/old").rmdir()
    _set_attributes(Path("/"), ATTR_READ_ONLY, 0)


def _show(path: Path, attributes: int) -> None:
    """At its own place below the new root. A link is made anew, and what it leads to is shown."""
    place = ROOT / path.relative_to("/")
    if path.is_symlink():
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_symlink():
            place.symlink_to(path.readlink())
        path = path.resolve()
        place = ROOT / path.relative_to("/")
    if path.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(str(path), place, None, MS_BIND | MS_REC)
    _set_attributes(place, attributes, AT_RECURSIVE)


def _set_attributes(place: Path, attributes: int, flags: int) -> None:
    asked = struct.pack("QQQQ", attributes, 0, 0, 0)
    done = _libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, bytes(place), flags, asked, ctypes.c_size_t(len(asked)))
    _check(done, f"mount_setattr {place}")


def _forbid() -> None:
    """Classic BPF over `struct seccomp_data`: the call's number is at 0, the machine at 4."""
    kept = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, AUDIT_ARCH_X86_64), (RETURN, 0, 0, FAIL), (LOAD, 0, 0, 0)]
    kept += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, FAIL)]
    for number in FORBIDDEN:
        kept += [(EQUAL, 0, 1, number), (RETURN, 0, 0, FAIL)]
    kept.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in kept))
    program = struct.pack("HxxxxxxP", len(kept), ctypes.addressof(code))
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _check(_libc.prctl(PR_SET_SECCOMP, FILTER, program, 0, 0), "seccomp")


def _become(folder: Path, readable: list[Path], program: list[str]) -> NoReturn:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        _build_root(folder, readable)
        os.chdir(folder)
        _forbid()
        os.execv(program[0], program)  # noqa: S606 - no shell is wanted
    except OSError as error:
        _give_up(error)


def _give_up(error: OSError) -> NoReturn:
    print(f"not shut in: {error}", file=sys.stderr, flush=True)  # noqa: T201 - there is no other way to tell
    os._exit(NOT_JAILED)


def main(folder: str, readable: str, *program: str) -> int:
    paths = [*map(Path, SYSTEM), *DEVICES, *map(Path, filter(None, readable.split(":")))]
    try:
        _enter_namespaces()
    except OSError as error:
        _give_up(error)
    child = os.fork()
    if child == 0:
        _become(Path(folder), paths, list(program))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
