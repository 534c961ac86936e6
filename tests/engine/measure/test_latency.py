"""The measured processes, for real: nothing here asserts how long something takes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.engine import models
from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import Measurement
from whetstone.contract.targets import Target
from workers.engine.measure.environment import describe
from workers.engine.measure.latency import Contest, TooManyThreads, cores_for, measure
from workers.engine.measure.side import RunnerRefused, RuntimeCrashed, Side
from workers.engine.targets.choose import delivered_name, runtime_for
from workers.engine.targets.runtime import Arrays

INPUTS = {"x": np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32)}


def artifact(folder: Path, target: Target = Target.ONNXRUNTIME_CPU, hidden: int = 32) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / delivered_name(target)
    runtime_for(target).convert(models.saved(models.random_mlp(hidden=hidden), folder / "model.onnx"), file)
    return file


def side(folder: Path, file: Path, target: Target = Target.ONNXRUNTIME_CPU, inputs: Arrays = INPUTS) -> Side:
    return Side(target, file, inputs, cores_for(1), folder / "side")


@pytest.mark.parametrize("target", [Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU])
def test_a_side_loads_runs_and_tells(target: Target, tmp_path: Path) -> None:
    with side(tmp_path, artifact(tmp_path / "made", target), target) as measured:
        assert measured.load() > 0
        assert len(measured.burst(5, settle=2)) == 5
        end = measured.close()
    assert end.warm_load_ms > 0
    assert end.peak_memory > 10_000_000
    assert end.operators


def test_calls_that_arrive_together_wait_for_each_other(tmp_path: Path) -> None:
    with side(tmp_path, artifact(tmp_path / "made")) as measured:
        measured.load()
        waited = measured.serve(np.zeros(20), patience=60)
        assert len(waited) == 20
        assert waited == sorted(waited)
        assert len(set(waited)) == 20
        apart = measured.serve(np.array([0, 0.2, 0.4]), patience=60)
        assert len(apart) == 3
        assert len(measured.serve(np.array([0.01, 0.02, 0.03]), patience=0.015)) < 3
        assert measured.stream(0.05)


def test_input_names_need_not_be_file_names(tmp_path: Path) -> None:
    model = models.relu()
    model.graph.input[0].name = model.graph.node[0].input[0] = "../../etc/x:0"
    inputs = {"../../etc/x:0": np.ones((1, 3), np.float32)}
    with side(tmp_path, models.saved(model, tmp_path / "m.onnx"), inputs=inputs) as measured:
        measured.load()
        assert len(measured.burst(1)) == 1


def test_a_refusal_arrives_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with (
        side(tmp_path, tmp_path / "broken.onnx") as measured,
        pytest.raises(RunnerRefused, match="cannot load") as error,
    ):
        measured.load()
    assert error.value.as_failure().code is FailureCode.TARGET_BUILD_FAILED


def test_what_a_runtime_throws_arrives_as_a_crash(tmp_path: Path) -> None:
    wrong = {"x": np.ones((1, 5), np.float32)}
    with side(tmp_path, artifact(tmp_path / "made"), inputs=wrong) as measured:
        measured.load()
        with pytest.raises(RunnerRefused) as error:
            measured.burst(1)
    assert error.value.as_failure().code is FailureCode.RUNTIME_CRASHED


def test_a_killed_process_is_a_crash_that_says_how(tmp_path: Path) -> None:
    with side(tmp_path, artifact(tmp_path / "made")) as measured:
        measured.load()
        os.kill(measured._process.pid, signal.SIGKILL)
        with pytest.raises(RuntimeCrashed, match="was killed by SIGKILL"):
            measured.burst(1)


def test_the_process_ends_with_its_context(tmp_path: Path) -> None:
    with side(tmp_path, artifact(tmp_path / "made")) as measured:
        process = measured._process
    assert process.returncode is not None


def test_what_libraries_print_does_not_reach_the_answers() -> None:
    script = (
        "import os\nfrom workers.engine.measure.runner import own_stdout\n"
        "channel = own_stdout()\nprint('noise', flush=True)\nos.system('echo noise')\nchannel.write('answer\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "answer\n"
    assert done.stderr == "noise\nnoise\n"


def test_both_sides_are_measured(tmp_path: Path) -> None:
    contest = Contest(Target.ONNXRUNTIME_CPU, artifact(tmp_path / "a", hidden=1024), artifact(tmp_path / "b"), INPUTS)
    seen: list[tuple[float, float]] = []
    found = measure(
        contest, Measurement(batch_size=2, threads=1, max_seconds=1), tmp_path / "scratch", lambda *at: seen.append(at)
    )
    for one, file in ((found.original, contest.original), (found.result, contest.result)):
        assert one.size == file.stat().st_size
        assert one.units == {"CPUExecutionProvider": len(one.operators)}
        assert len(one.latency.curve) == 101
        assert one.latency.curve[0] == one.latency.min_ms
        told = {f"p{p.percent:g}" for p in one.latency.percentiles} | one.latency.unclaimed.keys()
        assert told == {"p50", "p90", "p99"}
    assert found.speedup.low <= found.speedup.value <= found.speedup.high
    assert (found.conditions.batch_size, found.conditions.threads) == (2, 1)
    assert found.conditions.valid == (not found.conditions.invalid_because)
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] <= 1
    assert not list((tmp_path / "scratch").iterdir())


def test_more_threads_than_cores_are_refused() -> None:
    with pytest.raises(TooManyThreads, match="threads is 4096") as error:
        cores_for(4096)
    assert "or leave threads out" in str(error.value.as_failure().hint)


def test_the_environment_names_what_took_part() -> None:
    found = describe(Target.OPENVINO_CPU)
    assert found.cpu
    assert found.cores >= 1
    assert found.memory > 0
    assert found.versions.keys() == {"python", "numpy", "onnx", "onnxruntime", "openvino"}
