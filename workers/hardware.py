"""What this machine is and which targets it can run."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

from whetstone.contract.steps import Enrol
from whetstone.contract.targets import HardwareClass, Target

_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


def describe(worker_id: str, name: str, hardware: HardwareClass) -> Enrol:
    return Enrol(
        worker_id=worker_id,
        name=name,
        hardware=hardware,
        targets=tuple(target for target in Target if offers(target)),
        version=version("onnxruntime"),
        cpu=cpu_name(),
        cores=os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
    )


def offers(target: Target) -> bool:
    match target:
        case Target.ONNXRUNTIME_CPU | Target.OPENVINO_CPU:
            return True
        case Target.OPENVINO_CPU_BF16:
            return bool(_BF16_FLAGS & cpu_flags())


def cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_flags() -> set[str]:
    return set(_cpuinfo("flags").split())


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return ""
    lines = path.read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")
