"""A model that is no neural network, from upload to verdict, on a real worker."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import skops.io
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from tests.service import facts
from whetstone.client import Client
from whetstone.contract.failures import FailureCode
from whetstone.contract.jobs import Budget, JobSpec, Measurement
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import VerdictKind
from whetstone.contract.search import Limit, Search
from whetstone.contract.targets import Target
from whetstone.errors import Invalid, JobFailed, UploadRejected

ROWS, LABELS = (part.astype(np.float32) for part in load_digits(return_X_y=True))


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forest")
    model = RandomForestClassifier(20, random_state=0).fit(ROWS[:1000], LABELS[:1000].astype(np.int64))
    skops.io.dump(model, folder / "forest.skops")
    np.savez(folder / "digits.npz", input=ROWS, labels=LABELS.astype(np.int64))
    return folder


def test_trees_are_delivered_and_nothing_is_claimed_for_them(full_client: Client, forest: Path, tmp_path: Path) -> None:
    client = full_client
    model = client.models.upload(forest / "forest.skops")
    assert model.facts is not None
    assert model.facts.imported is not None
    assert model.facts.imported.source.endswith("RandomForestClassifier")
    assert model.facts.ops == {"TreeEnsembleClassifier": 1}
    data = client.datasets.upload(forest / "digits.npz")
    order = facts.spec(model.id, data.id, Simplify(), measurement={"max_seconds": 2})
    report = client.jobs.wait(client.jobs.submit(order).id)
    (target,) = report.targets
    assert target.verdict.kind is VerdictKind.NO_GAIN
    assert target.accuracy is not None
    assert target.accuracy.drop.value == 0
    assert target.accuracy.original > 0.9
    files = {path.name: path for path in client.jobs.download(report.job_id, tmp_path)}
    session = onnxruntime.InferenceSession(files["onnxruntime-cpu.onnx"], providers=["CPUExecutionProvider"])
    label, _ = session.run(None, {"input": ROWS[:1000]})
    assert float((label == LABELS[:1000]).mean()) > 0.99


def test_passes_say_why_they_can_do_nothing_with_trees(full_client: Client, forest: Path) -> None:
    client = full_client
    model, data = client.models.upload(forest / "forest.skops"), client.datasets.upload(forest / "digits.npz")
    with pytest.raises((JobFailed, Invalid), match="quantize"):
        client.jobs.wait(client.jobs.submit(facts.spec(model.id, data.id, Quantize())).id)
    (there,) = client.jobs.estimate(facts.spec(model.id, data.id, Simplify(), targets=(Target.OPENVINO_CPU,))).targets
    assert not there.feasible
    assert there.unsupported == {"ai.onnx.ml.TreeEnsembleClassifier": 1}


def test_a_search_over_trees_ends_with_the_original(full_client: Client, forest: Path) -> None:
    client = full_client
    model, data = client.models.upload(forest / "forest.skops"), client.datasets.upload(forest / "digits.npz")
    order = JobSpec(
        model_id=model.id,
        dataset_id=data.id,
        plan=Search(limit=Limit(trials=3)),
        budget=Budget(max_drop=1),
        measurement=Measurement(max_seconds=2),
    )
    report = client.jobs.wait(client.jobs.submit(order).id)
    assert report.targets[0].accuracy is not None
    assert report.targets[0].accuracy.drop.value == 0
    assert all(candidate.because for candidate in report.candidates)


def test_a_pickle_is_refused_with_the_way_to_export(full_client: Client, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04\x95abc")
    with pytest.raises(Invalid, match=r"skops.io.dump\(model, 'model.skops'\)"):
        full_client.models.upload(tmp_path / "model.pkl")
    (tmp_path / "old.pkl").write_bytes(b"csklearn.tree\nDecisionTreeClassifier\n")
    with pytest.raises(UploadRejected, match=r"skops\.io\.dump") as refused:
        full_client.models.upload(tmp_path / "old.pkl")
    assert refused.value.failure.code is FailureCode.UNSAFE_FILE
