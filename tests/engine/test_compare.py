"""A candidate beside the baseline of a check, on real files."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.engine import models
from tests.engine.test_deliver import HOW, ORIGINAL, dataset, halved
from whetstone.contract.checks import SideBySide
from whetstone.contract.steps import Compare, Compared, InputRole
from whetstone.contract.targets import GraphOptimization, RuntimeSettings, Target
from workers.engine.errors import EngineError
from workers.engine.measure.latency import Contest
from workers.engine.request import Message, Progress, Request
from workers.engine.run import run

BASIC = RuntimeSettings(graph_optimization=GraphOptimization.BASIC)


def compare(folder: Path, candidate: onnx.ModelProto, target: Target, told: list[Message] | None = None) -> SideBySide:
    outputs, scratch = folder / "outputs", folder / "scratch"
    outputs.mkdir()
    scratch.mkdir()
    inputs = {
        InputRole.MODEL: models.saved(ORIGINAL, folder / "baseline.onnx"),
        InputRole.RESULT: models.saved(candidate, folder / "candidate.onnx"),
        InputRole.DATASET: dataset(folder),
    }
    settings = BASIC if target is Target.ONNXRUNTIME_CPU else RuntimeSettings()
    task = Compare(target=target, settings=settings, measurement=HOW)
    done = run(Request(task=task, inputs=inputs, outputs=outputs, scratch=scratch), (told or []).append)
    assert done.outputs == ()
    assert list(outputs.iterdir()) == []
    assert isinstance(done.result, Compared)
    return done.result.seen


@pytest.mark.parametrize("target", [Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU])
def test_the_same_function_loses_nothing(tmp_path: Path, target: Target) -> None:
    seen = compare(tmp_path, halved(), target)
    assert seen.target is target
    assert seen.accuracy is not None
    assert (seen.accuracy.samples, seen.accuracy.original) == (20, 1.0)
    assert seen.accuracy.drop.value == 0
    assert seen.accuracy.drop.low < 0 < seen.accuracy.drop.high
    assert seen.speedup.low <= seen.speedup.value <= seen.speedup.high
    if target is Target.ONNXRUNTIME_CPU:
        assert seen.settings == BASIC
        assert seen.candidate.size < 0.6 * seen.baseline.size


def test_another_function_is_seen_to_lose(tmp_path: Path) -> None:
    told: list[Message] = [Progress(fraction=0, message="before")]
    seen = compare(tmp_path, models.random_mlp(seed=7, hidden=64), Target.ONNXRUNTIME_CPU, told)
    assert seen.accuracy is not None
    assert seen.accuracy.drop.low > 30
    messages = [message.message for message in told if isinstance(message, Progress)]
    assert "measuring the candidate" in messages


def test_what_cannot_be_fed_the_same_is_a_typed_failure(tmp_path: Path) -> None:
    other = models.parsed("g (float[N,3] x) => (float[N,10] logits) { logits = Identity(x) }")
    with pytest.raises(EngineError):
        compare(tmp_path, other, Target.ONNXRUNTIME_CPU)


def test_streams_of_both_sides_cancel_out() -> None:
    nowhere, streams = Path("x"), RuntimeSettings(streams=4)
    inputs = {"x": np.zeros(1, np.float32)}
    assert Contest(Target.OPENVINO_CPU, nowhere, nowhere, inputs, streams, streams).calls == 1
    assert Contest(Target.OPENVINO_CPU, nowhere, nowhere, inputs, streams).calls == 4
