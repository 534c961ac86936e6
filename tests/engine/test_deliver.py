"""The whole step on real files. Verdicts rest on the size here: no test depends on how fast this machine is."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.engine import models
from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import ArtifactKind, Budget, Measurement, Objective
from whetstone.contract.reports import TargetReport, VerdictKind
from whetstone.contract.scenarios import Offline, Server
from whetstone.contract.steps import Deliver, Delivered, InputRole
from whetstone.contract.targets import AS_USUAL, GraphOptimization, RuntimeSettings, Target
from workers.engine.deliver import deliver
from workers.engine.errors import EngineError
from workers.engine.measure.latency import Contest
from workers.engine.request import Done, Message, Progress, Request

ORIGINAL = models.random_mlp(hidden=64)
HOW = Measurement(batch_size=1, threads=1, max_seconds=1)
SMALLER = Budget(objective=Objective.SIZE, max_drop=5)


def halved() -> onnx.ModelProto:
    """The same function in half the bytes: weights stored in float16, computed in float32."""
    model = onnx.ModelProto()
    model.CopyFrom(ORIGINAL)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}_half"))
        model.graph.node.insert(0, onnx.helper.make_node("Cast", [f"{name}_half"], [name], f"cast_{name}", to=1))
    return model


def dataset(folder: Path) -> Path:
    images = np.random.default_rng(1).standard_normal((100, 1, 28, 28)).astype(np.float32)
    labels = models.run(ORIGINAL, x=images)[0].argmax(axis=1)
    np.savez(folder / "data.npz", x=images, labels=labels)
    return folder / "data.npz"


def run(
    folder: Path, result: onnx.ModelProto, *, data: bool = True, target: Target = Target.ONNXRUNTIME_CPU,
    budget: Budget = SMALLER, how: Measurement = HOW, told: list[Message] | None = None,
    settings: RuntimeSettings = AS_USUAL, runner_up: onnx.ModelProto | None = None,
) -> tuple[Done, TargetReport]:  # fmt: skip
    outputs, scratch = folder / "outputs", folder / "scratch"
    outputs.mkdir()
    scratch.mkdir()
    inputs = {
        InputRole.MODEL: models.saved(ORIGINAL, folder / "original.onnx"),
        InputRole.RESULT: models.saved(result, folder / "result.onnx"),
    }
    if data:
        inputs[InputRole.DATASET] = dataset(folder)
    if runner_up:
        inputs[InputRole.RUNNER_UP] = models.saved(runner_up, folder / "runner-up.onnx")
    second = AS_USUAL if runner_up else None
    task = Deliver(target=target, settings=settings, runner_up=second, budget=budget, measurement=how)
    request = Request(task=task, inputs=inputs, outputs=outputs, scratch=scratch)
    done = deliver(request, task, [].append if told is None else told.append)
    assert isinstance(done.result, Delivered)
    return done, done.result.report


def test_a_smaller_result_is_delivered(tmp_path: Path) -> None:
    told: list[Message] = []
    done, report = run(tmp_path, halved(), told=told)
    assert report.verdict.kind is VerdictKind.IMPROVED
    made, tools, kit = done.outputs
    assert (made.name, made.kind) == ("onnxruntime-cpu.onnx", ArtifactKind.MODEL)
    assert (tools.kind, kit.kind) == (ArtifactKind.TOOLCHAIN, ArtifactKind.KIT)
    assert (tmp_path / "outputs" / made.name).read_bytes() == (tmp_path / "result.onnx").read_bytes()
    assert {file.name for file in (tmp_path / "outputs").iterdir()} == {made.name, tools.name, kit.name}
    assert report.accuracy is not None
    assert report.accuracy.original == 1.0
    assert report.accuracy.samples == report.fidelity.samples == 20
    assert not report.fidelity.synthetic_inputs
    assert report.size_ratio == pytest.approx(2, rel=0.05)
    assert report.result.size == (tmp_path / "result.onnx").stat().st_size
    fractions = [message.fraction for message in told if isinstance(message, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1, abs=0.01)
    assert len(fractions) < 600
    assert any("speedup" in message.metrics for message in told if isinstance(message, Progress))


def test_a_harmful_result_gives_the_original_back(tmp_path: Path) -> None:
    done, report = run(tmp_path, models.random_mlp(seed=7, hidden=16), target=Target.OPENVINO_CPU)
    assert report.verdict.kind is VerdictKind.NO_GAIN
    assert "points of accuracy lost" in report.verdict.reason
    assert report.result.size < report.original.size
    assert report.accuracy is not None
    assert report.accuracy.flips is not None
    assert len(report.worst) == min(12, report.accuracy.flips.lost)
    assert all(sample.picture and sample.label == sample.original != sample.result for sample in report.worst)
    lost = [sample.before - sample.after for sample in report.worst]
    assert lost == sorted(lost, reverse=True)
    assert report.calibration is not None
    assert report.calibration.original.error > 0.7  # always right, and never sure
    assert sum(each.samples for each in report.calibration.result.bins) == report.accuracy.samples
    assert done.outputs[0].name == "openvino-cpu.zip"
    assert (tmp_path / "outputs" / "openvino-cpu.zip").stat().st_size == report.original.size


def test_where_the_first_choice_gains_nothing_the_runner_up_is_delivered(tmp_path: Path) -> None:
    told: list[Message] = []
    done, report = run(tmp_path, models.random_mlp(seed=7, hidden=16), runner_up=halved(), told=told)
    assert report.verdict.kind is VerdictKind.IMPROVED
    assert report.first_choice is not None
    assert "points of accuracy lost" in report.first_choice
    assert (tmp_path / "outputs" / done.outputs[0].name).read_bytes() == (tmp_path / "runner-up.onnx").read_bytes()
    fractions = [message.fraction for message in told if isinstance(message, Progress)]
    assert fractions == sorted(fractions)


def test_the_runner_up_is_not_looked_at_where_the_first_choice_serves(tmp_path: Path) -> None:
    done, report = run(tmp_path, halved(), runner_up=models.random_mlp(seed=7, hidden=16))
    assert (report.verdict.kind, report.first_choice) == (VerdictKind.IMPROVED, None)
    assert (tmp_path / "outputs" / done.outputs[0].name).read_bytes() == (tmp_path / "result.onnx").read_bytes()


def test_where_neither_gains_the_report_is_of_the_first_choice(tmp_path: Path) -> None:
    harmful = models.random_mlp(seed=7, hidden=16)
    done, report = run(tmp_path, harmful, runner_up=models.random_mlp(seed=8, hidden=16))
    assert (report.verdict.kind, report.first_choice) == (VerdictKind.NO_GAIN, None)
    assert (tmp_path / "outputs" / done.outputs[0].name).read_bytes() == (tmp_path / "original.onnx").read_bytes()


def test_without_a_dataset_fidelity_decides_and_a_missed_limit_is_named(tmp_path: Path) -> None:
    _, report = run(tmp_path, halved(), data=False, budget=SMALLER.model_copy(update={"max_size_mb": 0.01}))
    assert report.verdict.kind is VerdictKind.OVER_BUDGET
    assert "max_size_mb (0.01 MB)" in report.verdict.reason
    assert "agreement with the original" in report.verdict.reason
    assert report.accuracy is None
    assert report.fidelity.synthetic_inputs
    assert (report.calibration, report.worst) == (None, ())


def test_a_result_that_is_no_number_is_refused(tmp_path: Path) -> None:
    broken = models.random_mlp(hidden=64)
    bias = next(tensor for tensor in broken.graph.initializer if tensor.name == "b2")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(10, np.nan, np.float32), "b2"))
    with pytest.raises(EngineError, match="NaN") as error:
        run(tmp_path, broken)
    assert error.value.as_failure().code is FailureCode.RESULT_MISMATCH


def test_settings_are_measured_with_and_delivered_beside_the_file(tmp_path: Path) -> None:
    told = RuntimeSettings(threads=1, graph_optimization=GraphOptimization.BASIC)
    done, report = run(tmp_path, halved(), settings=told)
    assert report.settings == told
    assert {operator.op for operator in report.original.operators} != {
        operator.op for operator in report.result.operators
    }
    file, settings, *_ = done.outputs
    assert (file.name, settings.name) == ("onnxruntime-cpu.onnx", "onnxruntime-cpu.settings.json")
    assert settings.kind is ArtifactKind.SETTINGS
    written = (tmp_path / "outputs" / settings.name).read_text()
    assert RuntimeSettings.model_validate_json(written) == told


def test_streams_run_side_by_side(tmp_path: Path) -> None:
    budget = Budget(objective=Objective.THROUGHPUT, max_drop=5)
    _, report = run(tmp_path, ORIGINAL, settings=RuntimeSettings(streams=2), budget=budget)
    assert report.settings.streams == 2
    assert report.fidelity.cosine == pytest.approx(1)
    contest = Contest(report.target, tmp_path, tmp_path, {}, report.settings)
    assert contest.calls == 2  # what a ratio of times is multiplied by


def test_scenarios_share_the_time_and_leave_the_verdict_alone(tmp_path: Path) -> None:
    told: list[Message] = []
    how = HOW.model_copy(update={"scenarios": (Offline(max_batch=2), Server(rate=50, latency_ms=1000, percent=50))})
    _, report = run(tmp_path, halved(), how=how, told=told)
    assert report.verdict.kind is VerdictKind.IMPROVED
    assert [each.scenario for each in report.scenarios] == list(how.scenarios)
    assert [each.budget for each in report.scenarios] == [0.25, 0.25]
    assert all(each.points for each in report.scenarios)
    fractions = [message.fraction for message in told if isinstance(message, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1, abs=0.01)


def test_memory_is_an_objective(tmp_path: Path) -> None:
    _, report = run(tmp_path, ORIGINAL, budget=Budget(objective=Objective.MEMORY, max_drop=5))
    assert report.verdict.kind is VerdictKind.NO_GAIN
    assert "MB of memory" in report.verdict.reason
