"""One model under MLPerf's LoadGen, single stream: a process of its own, as a measured side is one.

    python -m benchmarks.parts.loadgen model.onnx inputs.npz core seconds folder

prints {"p50_ms": …, "p90_ms": …}. The system under test is the very call that Whetstone times.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import mlperf_loadgen as loadgen
import numpy as np

from whetstone.contract.targets import Target
from workers.engine.targets.choose import runtime_for

WARMUP_CALLS = 50
FACTS = {
    "p50_ms": r"50\.00 percentile latency \(ns\)\s*: (\d+)",
    "p90_ms": r"90\.00 percentile latency \(ns\)\s*: (\d+)",
}


def main() -> None:
    model, inputs, core, seconds, folder = sys.argv[1:]
    os.sched_setaffinity(0, [int(core)])
    session = runtime_for(Target.ONNXRUNTIME_CPU).load(Path(model), 1)
    call = session.bind(dict(np.load(inputs)))
    for _ in range(WARMUP_CALLS):
        call()
    run(call, float(seconds), Path(folder))
    summary = (Path(folder) / "mlperf_log_summary.txt").read_text()
    found = {name: re.search(pattern, summary) for name, pattern in FACTS.items()}
    print(json.dumps({name: int(match[1]) / 1e6 for name, match in found.items() if match}))


def run(call: Callable[[], object], seconds: float, folder: Path) -> None:
    """One sample at a time, the next once the last is complete, for so many seconds."""

    def issue(samples: list[loadgen.QuerySample]) -> None:
        for sample in samples:
            call()
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0)])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = settings.max_duration_ms = int(1000 * seconds)
    settings.min_query_count = 1
    logs = loadgen.LogSettings()
    logs.log_output.outdir = str(folder)
    logs.enable_trace = False
    system = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    loadgen.StartTestWithLogSettings(system, library, settings, logs)
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(system)


if __name__ == "__main__":
    main()
