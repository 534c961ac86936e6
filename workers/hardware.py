"""What this machine is and which targets it can run."""

import os
from importlib.metadata import version

import psutil

from whetstone.contract.steps import Enrol
from whetstone.contract.targets import HardwareClass, Target
from workers.engine.targets.processor import computes_bf16, cpu_model


def describe(worker_id: str, name: str, hardware: HardwareClass) -> Enrol:
    return Enrol(
        worker_id=worker_id,
        name=name,
        hardware=hardware,
        targets=tuple(target for target in Target if offers(target)),
        version=version("onnxruntime"),
        cpu=cpu_model(),
        cores=os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
    )


def offers(target: Target) -> bool:
    match target:
        case Target.ONNXRUNTIME_CPU | Target.OPENVINO_CPU:
            return True
        case Target.OPENVINO_CPU_BF16:
            return computes_bf16()
