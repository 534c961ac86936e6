"""Quantizing with statistics measured elsewhere: the same graph as with the samples, or a refusal that says why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from pydantic import ValidationError

from tests.engine import models
from whetstone.calibration.collect import CannotCalibrate, collect
from whetstone.calibration.samples import UnreadableSamples
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.preprocessing import StatisticsFile
from whetstone.contract.pruning import Granularity, Prune
from whetstone.contract.quantization import Calibrator, Form, Quantize
from whetstone.contract.statistics import CalibrationStatistics, TensorStatistics
from whetstone.contract.steps import InputRole, Optimize
from workers.engine.data.errors import DatasetMismatch, InvalidDataset
from workers.engine.data.samples import open_dataset
from workers.engine.inspection import inspect_dataset
from workers.engine.optimize import optimize
from workers.engine.passes.errors import CalibrationFailed, NeedsDataset
from workers.engine.request import Request

ROWS = 40


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.saved(models.cnn(), tmp_path / "model")


@pytest.fixture
def data(tmp_path: Path, model: Path) -> Path:
    """Calibration samples with a few far out, so that calibrators come to different ranges."""
    loaded = onnx.load(model).graph.input[0]
    shape = [dim.dim_value for dim in loaded.type.tensor_type.shape.dim][1:]
    values = np.random.default_rng(3).standard_normal((ROWS, *shape)).astype(np.float32)
    values[::7] *= 9
    np.savez(tmp_path / "d.npz", **{f"calibration/{loaded.name}": values, f"test/{loaded.name}": values[:4]})
    return tmp_path / "d.npz"


def optimized(tmp_path: Path, model: Path, passes: tuple[Pass, ...], **inputs: Path) -> onnx.ModelProto:
    outputs = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    outputs.mkdir()
    given = {InputRole.MODEL: model} | {InputRole(role): path for role, path in inputs.items()}
    request = Request(task=Optimize(passes=passes), inputs=given, outputs=outputs, scratch=tmp_path)
    done = optimize(request, Optimize(passes=passes), lambda _: None)
    (made,) = [file for file in done.outputs if file.kind is ArtifactKind.MODEL]
    return onnx.load(outputs / made.name)


def written(tmp_path: Path, statistics: CalibrationStatistics) -> Path:
    (tmp_path / "s.json").write_text(statistics.model_dump_json())
    return tmp_path / "s.json"


def scales(model: onnx.ModelProto) -> dict[str, Any]:
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        name: stored[name].tolist()
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        for name in node.input[1:]
    }


@pytest.mark.parametrize("calibrator", Calibrator)
def test_scales_are_the_same_as_with_the_samples(
    tmp_path: Path, model: Path, data: Path, calibrator: Calibrator
) -> None:
    passes = (Quantize(calibrator=calibrator),)
    with_data = scales(optimized(tmp_path, model, passes, dataset=data))
    statistics = written(tmp_path, collect(model, data, threads=1))
    assert scales(optimized(tmp_path, model, passes, calibration=statistics)) == with_data
    assert len(with_data) > 4


def test_after_simplify_they_differ_by_rounding_alone(tmp_path: Path, model: Path, data: Path) -> None:
    passes = (Simplify(), Quantize())
    with_data = scales(optimized(tmp_path, model, passes, dataset=data))
    statistics = written(tmp_path, collect(model, data, threads=1))
    found = scales(optimized(tmp_path, model, passes, calibration=statistics))
    assert found.keys() == with_data.keys()
    for name, scale in found.items():
        assert scale == pytest.approx(with_data[name], rel=1e-6), name


def test_a_choice_of_the_samples_is_the_same_one(tmp_path: Path, model: Path, data: Path) -> None:
    passes = (Quantize(calibration_samples=9, form=Form.NVIDIA),)
    with_data = scales(optimized(tmp_path, model, passes, dataset=data))
    found = collect(model, data, most=9, threads=1)
    assert found.samples == 9
    assert scales(optimized(tmp_path, model, passes, calibration=written(tmp_path, found))) == with_data


def test_a_folder_of_files_is_one_set_of_samples(tmp_path: Path, model: Path, data: Path) -> None:
    (tmp_path / "parts").mkdir()
    (values,) = [array for name, array in np.load(data).items() if name.startswith("calibration")]
    name = onnx.load(model).graph.input[0].name
    np.savez(tmp_path / "parts" / "1.npz", **{name: values[:13]})
    np.save(tmp_path / "parts" / "2.npy", values[13:])
    assert collect(model, tmp_path / "parts", threads=1) == collect(model, data, threads=1)


def test_statistics_tell_nothing_but_ranges_and_counts(model: Path, data: Path) -> None:
    found = collect(model, data, threads=1)
    assert found.samples == ROWS
    assert all(len(tensor.counts) in (0, 2048) for tensor in found.tensors)
    assert set(TensorStatistics.model_fields) == {
        "name", "shape", "low", "high", "average_low", "average_high", "counts"
    }  # fmt: skip


def test_they_are_inspected_as_a_dataset_and_are_no_samples(tmp_path: Path, model: Path, data: Path) -> None:
    found = collect(model, data, threads=1)
    path = written(tmp_path, found)
    facts, preview = inspect_dataset(path, tmp_path, StatisticsFile())
    assert facts.statistics is not None
    assert facts.statistics.model_sha256 == found.model_sha256
    assert (facts.format, facts.samples, preview.rows) == ("statistics", ROWS, ())
    with pytest.raises(DatasetMismatch, match="holds statistics"):
        open_dataset(path, tmp_path, StatisticsFile())


Change = Callable[[dict[str, Any]], object]


def drop_a_tensor(told: dict[str, Any]) -> None:
    del told["tensors"][-1]


def reshape(told: dict[str, Any]) -> None:
    told["tensors"][0]["shape"] = [1, 7]


def still(told: dict[str, Any]) -> None:
    for tensor in told["tensors"]:
        tensor |= {"low": 1.0, "high": 1.0}


@pytest.mark.parametrize(
    ("change", "told"),
    [(drop_a_tensor, "do not know the tensor"), (reshape, r"say \[1, 7\] of"), (still, "one and the same number")],
)
def test_what_does_not_fit_the_model_is_refused(
    tmp_path: Path, model: Path, data: Path, change: Change, told: str
) -> None:
    changed = collect(model, data, threads=1).model_dump(mode="json")
    change(changed)
    path = written(tmp_path, CalibrationStatistics.model_validate(changed))
    with pytest.raises(CalibrationFailed, match=told):
        optimized(tmp_path, model, (Quantize(),), calibration=path)


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path, model: Path, data: Path) -> None:
    path = written(tmp_path, collect(model, data, threads=1))
    pruned = Prune(granularity=Granularity.ELEMENT, sparsity=0.9)
    with pytest.raises(CalibrationFailed, match="is not what it was"):
        optimized(tmp_path, model, (pruned, Quantize()), calibration=path)


def test_what_needs_samples_says_so(tmp_path: Path, model: Path, data: Path) -> None:
    path = written(tmp_path, collect(model, data, threads=1))
    with pytest.raises(CalibrationFailed, match="not as `equalize`"):
        optimized(tmp_path, model, (Quantize(equalize=True),), calibration=path)
    with pytest.raises(NeedsDataset):
        optimized(tmp_path, model, (Quantize(bias_correction=True),), calibration=path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"version": 2}',
        b'{"version": 1, "model_sha256": "x"}',
    ],
)
def test_a_file_that_holds_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(InvalidDataset, match="no calibration statistics"):
        inspect_dataset(tmp_path / "s.json", tmp_path, StatisticsFile())


@pytest.mark.parametrize(
    "wrong",
    [
        {"low": 2.0, "high": 1.0},
        {"average_low": 2.0},
        {"high": float("inf")},
        {"low": float("nan")},
        {"counts": [1, 2]},
        {"counts": [-1] * 2048},
    ],
)
def test_numbers_that_are_no_ranges(wrong: dict[str, Any]) -> None:
    fine = {"name": "x", "low": 0.0, "high": 1.0, "average_low": 0.0, "average_high": 1.0}
    assert TensorStatistics.model_validate(fine)
    with pytest.raises(ValidationError):
        TensorStatistics.model_validate(fine | wrong)


def test_what_cannot_be_calibrated_is_told(tmp_path: Path, model: Path, data: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(CannotCalibrate, match=r"no\.onnx cannot be read"):
        collect(tmp_path / "no.onnx", data)
    np.savez(tmp_path / "other.npz", y=np.zeros((3, 4), np.float32))
    with pytest.raises(UnreadableSamples, match="has no array"):
        collect(model, tmp_path / "other.npz")
    np.savez(tmp_path / "wide.npz", **{onnx.load(model).graph.input[0].name: np.zeros((3, 4))})
    with pytest.raises(UnreadableSamples, match="float64"):
        collect(model, tmp_path / "wide.npz")
    np.savez(tmp_path / "narrow.npz", **{onnx.load(model).graph.input[0].name: np.zeros((3, 4), np.float32)})
    with pytest.raises(CannotCalibrate, match="cannot be run on these samples"):
        collect(model, tmp_path / "narrow.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableSamples, match=r"holds no \.npz"):
        collect(model, tmp_path / "empty")
