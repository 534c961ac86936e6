"""Runtimes that lie in toolkits: each really converts, loads and runs here, in its own Python."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.engine import models
from tests.engine.test_bundle import figures, unpacked
from tests.engine.test_deliver import halved, run
from whetstone.contract.datasets import Split
from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import ShapeRange
from whetstone.contract.targets import RuntimeSettings, Target, toolkit_of
from workers.engine.data.samples import Samples
from workers.engine.errors import EngineError
from workers.engine.graph.graph import Graph
from workers.engine.passes.graph_pass import Context
from workers.engine.passes.quantize import QuantizePass
from workers.engine.targets.choose import delivered_name, runtime_for
from workers.engine.targets.runtime import Arrays, Session
from workers.engine.toolkits.environments import FOLDER_VARIABLE, is_built, place_of, python_in


def needs(target: Target) -> object:
    toolkit = toolkit_of(target)
    assert toolkit is not None
    reason = f"the toolkit is not built: python -m workers toolkits install {toolkit}"
    return pytest.param(target, marks=pytest.mark.skipif(not is_built(toolkit), reason=reason), id=target.value)


RUN = (Target.LITERT_CPU,)
in_toolkits = pytest.mark.parametrize("target", [needs(target) for target in RUN])
EIGHT_BITS = (Target.LITERT_CPU,)


def shapes(**usual: tuple[int, ...]) -> tuple[ShapeRange, ...]:
    return tuple(ShapeRange(input=name, least=shape, usual=shape, most=shape) for name, shape in usual.items())


def images(count: int) -> Arrays:
    return {"x": np.random.default_rng(0).standard_normal((count, 1, 28, 28)).astype(np.float32)}


def delivered(target: Target, model: onnx.ModelProto, folder: Path, fixed: tuple[ShapeRange, ...] = ()) -> Path:
    file = folder / delivered_name(target)
    runtime_for(target).convert(models.saved(model, folder / "model.onnx"), file, fixed)
    assert {path.name for path in folder.iterdir()} == {"model.onnx", file.name}
    return file


def loaded(target: Target, file: Path) -> Session:
    return runtime_for(target).load(file, 1)


def refused(target: Target, model: onnx.ModelProto, folder: Path) -> Failure:
    with pytest.raises(EngineError) as error:
        delivered(target, model, folder)
    return error.value.as_failure()


@in_toolkits
def test_any_number_of_samples_through_one_shape(target: Target, tmp_path: Path) -> None:
    session = loaded(target, delivered(target, models.cnn(), tmp_path, shapes(x=(2, 1, 28, 28))))
    for count in (1, 2, 5):
        found = session.run(images(count))
        (expected,) = models.run(models.cnn(), **images(count))
        assert found.keys() == {"logits"}
        assert found["logits"].shape == expected.shape
        assert np.abs(found["logits"] - expected).max() <= 1e-5
        call = session.bind(images(count))
        call()
        call()
    (expected,) = models.run(models.cnn(), **images(1))
    assert np.abs(session.run(images(1))["logits"] - expected).max() <= 1e-5


@in_toolkits
def test_several_inputs_and_outputs_keep_their_names(target: Target, tmp_path: Path) -> None:
    body = "{ z = Sub (b, a) h = Relu (a) y = MatMul (h, w) }"
    model = models.parsed(f"g (float[N,4] b, float[N,4] a) => (float[N,4] z, float[N,3] y) {body}")
    model = models.with_weights(model, w=np.arange(12, dtype=np.float32).reshape(4, 3))
    for value, name in zip((*model.graph.input, *model.graph.output), ("in/0:b", "a", "out/<0>", "y"), strict=True):
        value.name = name
    model.graph.node[0].input[0], model.graph.node[0].output[0] = "in/0:b", "out/<0>"
    session = loaded(target, delivered(target, model, tmp_path))
    given = {"a": np.array([[1, -2, 3, 4]], np.float32), "in/0:b": np.array([[5, 5, 5, 5]], np.float32)}
    found = session.run(given)
    assert found["out/<0>"].tolist() == [[4, 7, 2, 1]]
    assert found["y"].tolist() == [[54, 62, 70]]
    with pytest.raises(EngineError, match=r"Input 'a' has the shape \(1, 4\) in this file, not \(1, 5\)") as error:
        session.run(given | {"a": np.zeros((1, 5), np.float32)})
    assert "samples of one shape" in (error.value.advice or "")


@pytest.mark.parametrize("target", [needs(target) for target in EIGHT_BITS])
def test_what_is_quantized_is_computed_in_8_bits(
    target: Target, trained: Graph, digits: Samples, context: Context, tmp_path: Path
) -> None:
    """A float file would be three times as large, and its outputs would not fall on the same few values."""
    graph = QuantizePass(Quantize()).apply(trained, digits, context).graph
    file = delivered(target, graph.model, tmp_path, shapes(x=(1, 1, 28, 28)))
    whole = len(trained.model.SerializeToString())
    assert file.stat().st_size < 0.45 * whole
    session, given = loaded(target, file), next(digits.batches(Split.TEST, 64)).inputs
    (expected,) = models.run(graph, **given)
    found = session.run(given)["logits"]
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.95
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


@in_toolkits
def test_what_no_converter_knows_is_named(target: Target, tmp_path: Path) -> None:
    model = models.parsed(
        "g (float[N,3] x) => (float[N,3] y) { h = Relu (x) y = house.Made (h) }", domains=', "house": 1'
    )
    model.graph.node[1].name = "mine"
    failure = refused(target, model, tmp_path)
    assert (failure.code, failure.layer) == (FailureCode.UNSUPPORTED_OP, "mine")
    assert "Made" in failure.message
    assert failure.hint


@in_toolkits
def test_without_the_toolkit_its_name_and_how_to_get_it(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "none"))
    failure = refused(target, models.relu(), tmp_path)
    assert (failure.code, failure.toolkit) == (FailureCode.NO_WORKER, toolkit_of(target))
    assert f"toolkits install {toolkit_of(target)}" in (failure.hint or "")


@in_toolkits
def test_what_is_no_model_is_refused_and_streams_are(target: Target, tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"not a model")
    with pytest.raises(EngineError, match=f"{toolkit_of(target)} cannot load the model"):
        loaded(target, tmp_path / "broken")
    with pytest.raises(EngineError, match="leave `streams` out"):
        runtime_for(target, RuntimeSettings(streams=2)).load(tmp_path / "broken", 1)


@in_toolkits
def test_a_job_is_delivered_measured_and_can_be_repeated(target: Target, tmp_path: Path) -> None:
    """Timed in processes of the toolkit's Python; the bundle runs there with nothing of this repository."""
    done, report = run(tmp_path, halved(), target=target)
    assert report.conversion.max_relative_error < 1e-4
    assert report.result.latency.samples > 10
    assert report.result.peak_memory > 0
    assert report.accuracy is not None
    assert (report.accuracy.original, report.accuracy.samples) == (1.0, 20)
    toolkit = toolkit_of(target)
    assert toolkit is not None
    folder = unpacked(tmp_path, done, report)
    pinned = (folder / "requirements.txt").read_text()
    (package, version) = pinned.splitlines()[0].split("==")
    assert report.environment.versions[package] == version
    shutil.copytree(folder, tmp_path / "elsewhere")
    command = [str(python_in(place_of(toolkit))), "-I", "-B", "reproduce.py", "--seconds", "1"]
    again = subprocess.run(command, cwd=tmp_path / "elsewhere", text=True, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    claimed, here = figures(again.stdout, "accuracy, result")
    assert claimed == here
    assert len(figures(again.stdout, "speed-up")) == 6
