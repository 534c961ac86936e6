"""What a measurement ran on: written into each report, so that numbers can be compared with care."""

import os
import platform
from importlib.metadata import version

from whetstone.contract.reports import Environment
from whetstone.contract.targets import Target, toolkit_of
from workers.engine.targets.processor import cpu_flags, cpu_model, usable_cores
from workers.engine.toolkits.catalogue import facts_of
from workers.engine.toolkits.environments import packages_in

X86 = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
ARM = ("asimddp", "i8mm", "bf16", "sve")
"""Instruction set extensions that decide how fast inference is."""


def describe(target: Target) -> Environment:
    """The machine, and the versions of what took part in measuring this target."""
    return Environment(
        cpu=cpu_model(),
        cores=len(usable_cores()),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        isa=tuple(flag for flag in X86 + ARM if flag in cpu_flags()),
        versions={"python": platform.python_version()}
        | {package: version(package) for package in ("numpy", "onnx", "onnxruntime")}
        | runtime_of(target),
    )


def runtime_of(target: Target) -> dict[str, str]:
    """The package that runs what is delivered, and its version; none where nothing does here."""
    toolkit = toolkit_of(target)
    package = target.runtime if toolkit is None else facts_of(toolkit).runtime
    if package is None:
        return {}
    return {package: version(package) if toolkit is None else packages_in(toolkit)[package]}
