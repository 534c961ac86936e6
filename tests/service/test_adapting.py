"""A model is moved to another domain by a job: what is refused at once, and the whole way."""

from pathlib import Path

import numpy as np
import pytest

from app.embedded.service import Running
from examples import digits
from tests.service import facts
from tests.service.actors import Guest, new_tenant
from whetstone.client import Client
from whetstone.contract.adaptation import Adapt, Coral, Mmd
from whetstone.contract.datasets import DatasetFacts, Split
from whetstone.contract.jobs import JobSpec, Recipe
from whetstone.contract.learning import Learning
from whetstone.contract.losses import LabelLoss
from whetstone.contract.quantization import Quantize
from whetstone.contract.reports import VerdictKind
from whetstone.contract.search import Search
from whetstone.contract.steps import InputRole
from whetstone.errors import Conflict, Invalid, NotFound

ONE, OTHER = "dat_01h455vb4pex5vsknk084sn02q", "dat_01h455vb4pex5vsknk084sn02r"
BY_LABELS = Learning(loss=LabelLoss.CROSS_ENTROPY)
MORE_ACCURATE = {"objective": "accuracy"}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("model.onnx", "new.npz", "source.npz")]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def test_the_source_is_another_of_the_tenants_datasets(
    client: Client, bare: Running, guest: Guest, files: list[Path]
) -> None:
    model, new = guest.model(client, files[0]), guest.dataset(client, files[1], facts.UNLABELLED)
    source = guest.dataset(client, files[2])
    job = client.jobs.submit(facts.spec(model.id, new.id, Adapt(method=Coral(source=source.id, learning=BY_LABELS))))
    with pytest.raises(Conflict) as refused:
        client.datasets.delete(source.id)
    assert refused.value.code == "still_in_use"
    roles = {given.role: given.sha256 for given in guest.claim(job.id).inputs}
    assert roles == {InputRole.MODEL: model.sha256, InputRole.DATASET: new.sha256, InputRole.SOURCE: source.sha256}
    with Client(bare.url, new_tenant(bare)) as stranger:
        own, own_data = guest.model(stranger, files[0]), guest.dataset(stranger, files[1])
        with pytest.raises(NotFound):
            stranger.jobs.submit(facts.spec(own.id, own_data.id, Adapt(method=Mmd(source=source.id))))


@pytest.mark.parametrize(
    ("source", "learning", "code"),
    [
        (facts.UNLABELLED, BY_LABELS, "labels_required"),
        (facts.DATASET.model_copy(update={"fields": ()}), Learning(), "dataset_mismatch"),
    ],
)
def test_a_source_that_does_not_do(
    client: Client, guest: Guest, files: list[Path], source: DatasetFacts, learning: Learning, code: str
) -> None:
    model, new = guest.model(client, files[0]), guest.dataset(client, files[1])
    given = guest.dataset(client, files[2], source)
    with pytest.raises(Invalid) as refused:
        client.jobs.submit(facts.spec(model.id, new.id, Adapt(method=Mmd(source=given.id, learning=learning))))
    assert refused.value.code == code


def test_plans_that_cannot_adapt(client: Client, guest: Guest, files: list[Path]) -> None:
    model, new = guest.model(client, files[0]), guest.dataset(client, files[1])
    only_tested = facts.DATASET.model_copy(update={"splits": {Split.TEST: 20}})
    tested = guest.dataset(client, files[2], only_tested)
    two = (Adapt(method=Mmd(source=ONE)), Adapt(method=Coral(source=OTHER)))
    search = JobSpec.model_validate({"model_id": model.id, "dataset_id": new.id, "budget": MORE_ACCURATE})
    assert isinstance(search.plan, Search)
    for order, code in (
        (facts.spec(model.id, None, Adapt()), "dataset_required"),
        (facts.spec(model.id, tested.id, Adapt()), "dataset_required"),
        (facts.spec(model.id, new.id, Quantize(), Adapt()), "invalid_plan"),
        (facts.spec(model.id, new.id, *two), "invalid_plan"),
        (search, "invalid_plan"),
        (facts.spec(model.id, None, facts.DYNAMIC, budget=MORE_ACCURATE), "labels_required"),
    ):
        with pytest.raises(Invalid) as refused:
            client.jobs.submit(order)
        assert refused.value.code == code


def test_faint_images(full_client: Client, tmp_path: Path) -> None:
    """A network of plain digits is moved to faint ones, whose labels it is only tested by."""
    client = full_client
    digits.write(tmp_path)
    plain = np.load(tmp_path / "digits.npz")
    faint = {name: 0.4 * plain[name] + np.float32(0.5) for name in ("train/image", "test/image")}
    np.savez(tmp_path / "faint.npz", **faint, **{"test/labels": plain["test/labels"]})
    model, source = client.models.upload(tmp_path / "digits.onnx"), client.datasets.upload(tmp_path / "digits.npz")
    new = client.datasets.upload(tmp_path / "faint.npz")
    adapt = Adapt(method=Mmd(source=source.id, learning=Learning(epochs=4)))
    order = {"plan": Recipe(passes=(adapt,)), "budget": MORE_ACCURATE, "measurement": {"max_seconds": 2}}
    job = client.jobs.submit(JobSpec.model_validate({"model_id": model.id, "dataset_id": new.id, **order}))
    report = client.jobs.wait(job.id)
    assert report.verdict.kind is VerdictKind.IMPROVED
    assert "points of accuracy gained" in report.verdict.reason
    accuracy = report.targets[0].accuracy
    assert accuracy is not None
    assert accuracy.result > accuracy.original + 0.1
