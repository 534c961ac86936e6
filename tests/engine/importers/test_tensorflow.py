"""Keras, TensorFlow and TFLite models: imported by their own framework, in its toolkit, or refused for a reason."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.engine.in_toolkit import made_by, needs
from whetstone.contract.failures import FailureCode
from whetstone.contract.steps import InputRole, InspectModel, Limits, ModelInspected
from whetstone.contract.toolkits import Toolkit
from workers.engine.errors import EngineError
from workers.engine.importers.detect import compare_with_source, open_model
from workers.engine.importers.errors import InvalidModel
from workers.engine.inspection import inspect_model
from workers.engine.request import Request
from workers.engine.toolkits import environments
from workers.engine.toolkits.running import ScriptFailed, ToolkitMissing
from workers.sandbox import Sandbox

TOOLKIT = Toolkit.TENSORFLOW
SOURCES = Path(__file__).with_name("tensorflow_sources.py")
needs_toolkit = needs(TOOLKIT)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of every kind, made by their own framework; SavedModels as archives too."""
    folder = tmp_path_factory.mktemp("sources")
    made_by(TOOLKIT, SOURCES, folder)
    for saved in [path.parent for path in folder.glob("*/saved_model.pb")]:
        shutil.make_archive(str(saved), "zip", folder, saved.name)
        shutil.make_archive(str(saved), "gztar", folder, saved.name)
    return folder


@needs_toolkit
@pytest.mark.parametrize(
    ("name", "file_format", "inputs", "outputs"),
    [
        ("images.keras", "keras", ["image"], ["output"]),
        ("images.h5", "hdf5", ["image"], ["output"]),
        ("words.keras", "keras", ["tokens", "extra"], ["topic", "spam"]),
        ("images.zip", "saved-model", ["image"], ["output_0"]),
        ("images.tar.gz", "saved-model", ["image"], ["output_0"]),
        ("plain.zip", "saved-model", ["x"], ["y"]),
        ("float.tflite", "tflite", ["image"], ["output_0"]),
        ("quantized.tflite", "tflite", ["image"], ["output_0"]),
        ("integers.tflite", "tflite", ["image"], ["output_0"]),
    ],
)
def test_it_says_what_its_own_framework_says(
    sources: Path, tmp_path: Path, name: str, file_format: str, inputs: list[str], outputs: list[str]
) -> None:
    facts, graph = inspect_model(sources / name, tmp_path)
    assert facts.format == file_format
    assert [given.name for given in facts.inputs] == inputs
    assert [made.name for made in facts.outputs] == outputs
    assert facts.imported is not None
    assert facts.imported.samples == 16
    assert facts.imported.same == 1
    quantized = any(node.op_type == "QuantizeLinear" for node in graph.nodes)
    assert quantized == (name in {"quantized.tflite", "integers.tflite"})
    assert quantized or facts.imported.max_abs_error < 1e-5
    assert all(isinstance(value.shape[0], str) for value in (*facts.inputs, *facts.outputs))


@needs_toolkit
@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("lambda.keras", FailureCode.UNSAFE_FILE, "The Lambda layer 'lambda"),
        ("lambda.h5", FailureCode.UNSAFE_FILE, "The Lambda layer 'lambda"),
        ("own.keras", FailureCode.UNSUPPORTED_FORMAT, "is a Doubled, a class that Keras does not have"),
        ("text.keras", FailureCode.UNSUPPORTED_FORMAT, "The TextVectorization layer"),
        ("only.weights.h5", FailureCode.UNSUPPORTED_FORMAT, "no Keras network"),
        ("linked.h5", FailureCode.UNSAFE_FILE, "'weights' in the HDF5 file is a link to another file"),
        ("reading.zip", FailureCode.UNSAFE_FILE, "is a ReadFile, which reaches out of the model"),
        ("custom.zip", FailureCode.UNSUPPORTED_OP, "'ours' is a HomeMadeMatMul"),
        ("text.zip", FailureCode.UNSUPPORTED_FORMAT, "The input 'x' is text"),
        ("unsigned.zip", FailureCode.UNSUPPORTED_FORMAT, "No signature is called 'serving_default'"),
        ("odd.zip", FailureCode.UNSUPPORTED_OP, "BesselI0"),
        ("custom.tflite", FailureCode.UNSUPPORTED_OP, "BesselI0"),
    ],
)
def test_a_refusal_names_what_is_wrong_and_the_way_out(
    sources: Path, tmp_path: Path, name: str, code: FailureCode, told: str
) -> None:
    with pytest.raises(EngineError) as refused:
        inspect_model(sources / name, tmp_path)
    failure = refused.value.as_failure()
    assert (failure.code, told in failure.message) == (code, True), failure
    assert failure.hint


@needs_toolkit
@pytest.mark.parametrize("name", ["images.h5", "float.tflite"])
def test_a_file_that_breaks_off_is_refused(sources: Path, tmp_path: Path, name: str) -> None:
    whole = (sources / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises((InvalidModel, ScriptFailed), match=r"cannot be (read|loaded)|crashed the toolkit"):
        open_model(tmp_path / name, tmp_path)


@needs_toolkit
def test_a_wrong_import_is_noticed(sources: Path, tmp_path: Path) -> None:
    graph = open_model(sources / "images.keras", tmp_path)
    name = next(name for name, tensor in graph.constants.items() if list(tensor.dims)[1:] == [5])
    graph.set_weight(name, graph.weight(name) * np.float32(1.5))
    with pytest.raises(InvalidModel, match="says something else for 100"):
        compare_with_source(sources / "images.keras", graph, tmp_path)


@needs_toolkit
def test_in_the_sandbox_it_leaves_its_onnx_form(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    inputs = {InputRole.MODEL: sources / "images.keras"}
    request = Request(task=InspectModel(), inputs=inputs, outputs=tmp_path / "outputs", scratch=tmp_path)
    sandbox = Sandbox()
    try:
        limits = Limits(seconds=120, memory=4 * 2**30, file_size=2**30)
        done = sandbox.run(request, limits, lambda _: None, lambda: False)
    finally:
        sandbox.close()
    assert isinstance(done.result, ModelInspected)
    (made,) = done.outputs
    graph = open_model(tmp_path / "outputs" / made.name, tmp_path)
    assert [given.name for given in graph.inputs] == ["image"]


@pytest.mark.parametrize(
    ("head", "remedy"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "model.export('model.onnx', format='onnx')"),
        (bytes(4) + b"TFL3" + bytes(600), "python -m tf2onnx.convert --tflite"),
    ],
)
def test_without_the_toolkit_the_failure_names_it_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes, remedy: str
) -> None:
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path / "empty"))
    (tmp_path / "model").write_bytes(head)
    with pytest.raises(ToolkitMissing) as missing:
        open_model(tmp_path / "model", tmp_path)
    failure = missing.value.as_failure()
    assert (failure.code, failure.toolkit) == (FailureCode.NO_WORKER, TOOLKIT)
    assert "`tensorflow`" in failure.message
    assert "python -m workers toolkits install tensorflow" in (failure.hint or "")
    assert remedy in (failure.hint or "")
