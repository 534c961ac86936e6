"""Models of frameworks that live in toolkits, from upload to verdict: real API, worker and sandbox."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.engine.in_toolkit import made_by, needs
from tests.service import facts
from whetstone.client import Client
from whetstone.contract.failures import FailureCode
from whetstone.contract.passes import Simplify
from whetstone.contract.toolkits import Toolkit
from whetstone.errors import UploadRejected

KERAS = """
import keras
keras.utils.set_random_seed(0)
keras.Sequential([
    keras.Input((8, 8, 1), name="image"),
    keras.layers.Conv2D(4, 3, activation="relu"),
    keras.layers.Flatten(),
    keras.layers.Dense(3, activation="softmax", name="kind"),
]).save("model.keras")
keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: 2 * x)]).save("lambda.keras")
"""


@needs(Toolkit.TENSORFLOW)
def test_a_keras_file_is_read_in_its_toolkit_and_delivered(full_client: Client, tmp_path: Path) -> None:
    (tmp_path / "make.py").write_text(KERAS)
    made_by(Toolkit.TENSORFLOW, tmp_path / "make.py", tmp_path)
    client = full_client
    model = client.models.upload(tmp_path / "model.keras")
    assert model.facts is not None
    assert model.facts.format == "keras"
    assert [given.name for given in model.facts.inputs] == ["image"]
    assert model.facts.imported is not None
    assert model.facts.imported.source.startswith("Keras 3")
    assert model.facts.imported.same == 1
    report = client.jobs.wait(
        client.jobs.submit(facts.spec(model.id, None, Simplify(), measurement={"max_seconds": 2})).id
    )
    (target,) = report.targets
    assert target.fidelity is not None
    assert target.fidelity.max_abs_error < 1e-4
    files = {path.name: path for path in client.jobs.download(report.job_id, tmp_path / "results")}
    session = onnxruntime.InferenceSession(files["onnxruntime-cpu.onnx"], providers=["CPUExecutionProvider"])
    (kinds,) = session.run(None, {"image": np.ones((5, 8, 8, 1), np.float32)})
    assert kinds.shape == (5, 3)
    assert np.allclose(kinds.sum(axis=1), 1, atol=1e-5)


@needs(Toolkit.TENSORFLOW)
def test_a_keras_file_that_holds_code_is_refused(full_client: Client, tmp_path: Path) -> None:
    (tmp_path / "make.py").write_text(KERAS)
    made_by(Toolkit.TENSORFLOW, tmp_path / "make.py", tmp_path)
    with pytest.raises(UploadRejected, match="Lambda layer") as refused:
        full_client.models.upload(tmp_path / "lambda.keras")
    assert refused.value.failure.code is FailureCode.UNSAFE_FILE
    assert "model.export('model.onnx', format='onnx')" in (refused.value.failure.hint or "")
