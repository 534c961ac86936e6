"""The whole step for a target that is only built: the engine is real, what is said of accuracy was seen on the CPU."""

import json
from pathlib import Path

import onnx
import pytest

from tests.engine import models
from tests.engine.targets.test_tensorrt_rtx import needs_toolkit
from tests.engine.test_bundle import reproduce, unpacked
from tests.engine.test_deliver import HOW, ORIGINAL, dataset, halved
from whetstone.contract.jobs import ArtifactKind, Budget
from whetstone.contract.reports import BuiltReport, VerdictKind
from whetstone.contract.steps import Deliver, Delivered, InputRole
from whetstone.contract.targets import Target
from workers.engine.errors import EngineError
from workers.engine.request import Done, Message, Progress, Request
from workers.engine.run import run

TARGET = Target.TENSORRT_RTX_SM89


def build(
    folder: Path, result: onnx.ModelProto, *, data: bool = True, told: list[Message] | None = None
) -> tuple[Done, BuiltReport]:
    outputs, scratch = folder / "outputs", folder / "scratch"
    outputs.mkdir()
    scratch.mkdir()
    inputs = {
        InputRole.MODEL: models.saved(ORIGINAL, folder / "original.onnx"),
        InputRole.RESULT: models.saved(result, folder / "result.onnx"),
    }
    if data:
        inputs[InputRole.DATASET] = dataset(folder)
    task = Deliver(target=TARGET, budget=Budget(), measurement=HOW)
    request = Request(task=task, inputs=inputs, outputs=outputs, scratch=scratch)
    done = run(request, [].append if told is None else told.append)
    assert isinstance(done.result, Delivered)
    assert isinstance(done.result.report, BuiltReport)
    return done, done.result.report


@needs_toolkit
def test_an_engine_is_delivered_with_the_graph_it_was_built_from(tmp_path: Path) -> None:
    told: list[Message] = []
    done, report = build(tmp_path, halved(), told=told)
    assert report.verdict.kind is VerdictKind.BUILT
    assert "its speed is not known" in report.verdict.reason
    assert "on the CPU" in report.verdict.reason
    outputs = tmp_path / "outputs"
    engine, graph, card, tools, kit = done.outputs
    assert [each.name for each in (engine, graph)] == ["tensorrt-rtx-sm89.engine", "tensorrt-rtx-sm89.onnx"]
    kinds = [each.kind for each in (engine, graph, card, tools, kit)]
    assert kinds[:2] == [ArtifactKind.MODEL, ArtifactKind.MODEL]
    assert kinds[2:] == [ArtifactKind.SETTINGS, ArtifactKind.TOOLCHAIN, ArtifactKind.KIT]
    assert {file.name for file in outputs.iterdir()} == {each.name for each in done.outputs}
    assert (outputs / graph.name).read_bytes() == (tmp_path / "result.onnx").read_bytes()
    assert report.size == (outputs / engine.name).stat().st_size
    assert report.graph_size == (outputs / graph.name).stat().st_size
    fits = json.loads((outputs / card.name).read_text())
    assert fits["key"] == {"runtime": "tensorrt-rtx", "version": report.key.version, "compute_capability": "sm89"}
    assert fits["shapes"][0]["most"] == [32, 1, 28, 28]
    assert report.environment.versions["tensorrt-rtx"] == report.key.version
    assert report.accuracy is not None
    assert (report.accuracy.original, report.accuracy.samples) == (1.0, 20)
    assert sum(report.precisions.values()) == len(report.kernels) > 0
    fractions = [message.fraction for message in told if isinstance(message, Progress)]
    assert fractions == sorted(fractions)


@needs_toolkit
def test_where_the_graph_lost_too_much_the_original_is_built(tmp_path: Path) -> None:
    done, report = build(tmp_path, models.random_mlp(seed=7, hidden=16))
    assert report.verdict.kind is VerdictKind.NO_GAIN
    assert report.verdict.reason.startswith("The original is built: ")
    graph = tmp_path / "outputs" / done.outputs[1].name
    assert graph.read_bytes() == (tmp_path / "original.onnx").read_bytes()
    assert report.graph_size == graph.stat().st_size


@needs_toolkit
def test_without_a_dataset_random_inputs_are_compared(tmp_path: Path) -> None:
    _, report = build(tmp_path, halved(), data=False)
    assert (report.accuracy, report.fidelity.synthetic_inputs) == (None, True)


@needs_toolkit
def test_the_bundle_holds_the_engine_and_repeats_what_was_seen_of_its_graph(tmp_path: Path) -> None:
    done, report = build(tmp_path, halved())
    inside = unpacked(tmp_path, done, report)
    engine = inside / "engine" / "tensorrt-rtx-sm89.engine"
    assert engine.read_bytes() == (tmp_path / "outputs" / engine.name).read_bytes()
    assert json.loads((inside / "engine" / "engine.json").read_text())["target"] == TARGET
    again = reproduce(inside)
    assert again.returncode == 0, again.stderr
    assert "agreement %" in again.stdout
    assert "speed-up" not in again.stdout


def test_without_the_toolkit_the_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHETSTONE_WORKER_TOOLKITS", str(tmp_path / "empty"))
    with pytest.raises(EngineError, match="does not have the toolkit `tensorrt-rtx`"):
        build(tmp_path, halved())
