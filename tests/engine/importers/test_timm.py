"""Image models by the name of their architecture: built by timm, compared with it, fetched from nowhere."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.in_toolkit import made_by, needs
from whetstone.contract.failures import FailureCode
from whetstone.contract.toolkits import Toolkit
from workers.engine.errors import EngineError
from workers.engine.importers.detect import open_model
from workers.engine.inspection import inspect_model

pytestmark = needs(Toolkit.TIMM)
SOURCES = Path(__file__).with_name("timm_sources.py")
UNSUPPORTED, INVALID = FailureCode.UNSUPPORTED_FORMAT, FailureCode.INVALID_MODEL


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(Toolkit.TIMM, SOURCES, tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize(
    ("name", "kind", "shape", "classes"),
    [("test_resnet", "zip", (3, 64, 64), 7), ("test_vit", "gztar", (1, 64, 64), 5)],
)
def test_it_says_what_timm_says(
    sources: Path, tmp_path: Path, name: str, kind: str, shape: tuple[int, ...], classes: int
) -> None:
    archive = shutil.make_archive(str(tmp_path / "packed"), kind, sources, name)
    facts, _ = inspect_model(Path(archive), tmp_path)
    assert facts.format == "timm"
    assert [(given.name, given.shape) for given in facts.inputs] == [("image", ("batch", *shape))]
    assert [(made.name, made.shape) for made in facts.outputs] == [("output", ("batch", classes))]
    assert facts.imported is not None
    assert facts.imported.source == f"timm 1.0.31 {name}"
    assert (facts.imported.samples, facts.imported.same) == (16, 1)
    assert facts.imported.max_abs_error < 1e-4


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        ({"architecture": "resnet1000"}, UNSUPPORTED, "no architecture called 'resnet1000'"),
        ({"architecture": "hf-hub:somebody/model"}, UNSUPPORTED, "no architecture called 'hf-hub:somebody/model'"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, UNSUPPORTED, "`checkpoint_path`"),
        ({"model_args": {"pretrained": True}}, UNSUPPORTED, "`pretrained`"),
        ({"model_args": {"norm_layer": {"a": 1}}}, UNSUPPORTED, "`norm_layer`"),
        ({"num_classes": 9}, INVALID, "not those of a 'test_resnet'"),
        ({"model_args": {"img_size": "large"}}, INVALID, "cannot build 'test_resnet'"),
        ({"pretrained_cfg": None, "input_size": [64, 64]}, INVALID, "[channels, height, width]"),
    ],
)
def test_a_refusal_names_what_is_wrong(
    sources: Path, tmp_path: Path, changes: dict[str, Any], code: FailureCode, told: str
) -> None:
    shutil.copytree(sources / "test_resnet", tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(EngineError) as refused:
        open_model(Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "model")), tmp_path)
    failure = refused.value.as_failure()
    assert (failure.code, told in failure.message) == (code, True), failure
    assert failure.hint
