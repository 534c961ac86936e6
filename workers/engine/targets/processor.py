"""The processor this runs on: its name, what it can do, and the cores this process may use."""

import os
import platform
import time
from functools import cache
from pathlib import Path

NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # instructions that compute in bfloat16
CPUINFO = Path("/proc/cpuinfo")
STAT = Path("/proc/stat")
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction set extensions, in Linux's names (`avx512_bf16`, `amx_int8`; `bf16`, `i8mm` on Arm)."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features")).split())


def computes_bf16() -> bool:
    """Whether bfloat16 arithmetic is native here, not emulated."""
    return bool(NATIVE_BF16 & cpu_flags())


def cpu_model() -> str:
    return _cpuinfo("model name") or platform.machine()


def usable_cores() -> tuple[int, ...]:
    """One logical processor of each physical core this process may run on, as many as its quota pays for.

    Two threads of one core share its arithmetic units, so only one of them is worth a thread of inference.
    """
    allowed = sorted(os.sched_getaffinity(0))
    one_each = {_siblings(processor): processor for processor in reversed(allowed)}
    return tuple(sorted(one_each.values()))[: _quota()]


def busy_cores(cores: tuple[int, ...], seconds: float) -> float:
    """How many of these processors' worth of time was spent on anything while this call slept, from 0 to their number.

    Time that a hypervisor took away counts: it was busy for somebody.
    """
    before = _spent(cores)
    time.sleep(seconds)
    busy, total = (after - earlier for after, earlier in zip(_spent(cores), before, strict=True))
    return len(cores) * busy / max(total, 1)


class OtherWork:
    """What others did on these processors since this was made."""

    def __init__(self, cores: tuple[int, ...]) -> None:
        self._cores = cores
        self._busy, self._own, self._started = _spent(cores)[0], _own_seconds(), time.monotonic()

    def share(self) -> float:
        """The part of their time, from 0 to 1, that went to neither this process nor the children it has waited for."""
        busy = (_spent(self._cores)[0] - self._busy) / os.sysconf("SC_CLK_TCK")
        others = busy - (_own_seconds() - self._own)
        return max(0.0, others / (len(self._cores) * (time.monotonic() - self._started)))


def _own_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _spent(cores: tuple[int, ...]) -> tuple[int, int]:
    """Clock ticks these processors were busy, and all their ticks (proc(5), /proc/stat)."""
    names = {f"cpu{core}" for core in cores}
    rows = [line.split() for line in STAT.read_text().splitlines()]
    ticks = [[int(tick) for tick in row[1:9]] for row in rows if row and row[0] in names]
    total = sum(sum(row) for row in ticks)
    idle_and_waiting = sum(row[3] + row[4] for row in ticks)
    return total - idle_and_waiting, total


def _siblings(processor: int) -> str:
    """The logical processors of the same core; a machine that does not tell gets each as its own core."""
    try:
        return Path(TOPOLOGY.format(processor)).read_text().strip()
    except OSError:
        return str(processor)


def _quota() -> int | None:
    """Whole processors that a container's CPU quota allows, None without one."""
    try:
        quota, period = CGROUP_QUOTA.read_text().split()
    except OSError:
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))


def _cpuinfo(key: str) -> str:
    """The first value of a key; empty where the architecture does not give it."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")
