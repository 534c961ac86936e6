"""Orders taken up again: clones, templates, and jobs side by side."""

from pathlib import Path
from typing import Any

import pytest

from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant
from tests.service.test_checks import done_job
from whetstone.client import Client
from whetstone.contract.jobs import Budget, JobRead, Objective, Recipe
from whetstone.contract.labels import ResourceChange
from whetstone.contract.models import ModelRead
from whetstone.contract.passes import Simplify
from whetstone.contract.search import Search
from whetstone.contract.targets import Target
from whetstone.contract.templates import JobTemplate, Overrides, TemplateChange, TemplateCreate, TemplateUse
from whetstone.errors import Conflict, Invalid, NotFound

SMALL = JobTemplate(
    plan=Recipe(passes=(Simplify(), facts.DYNAMIC)), budget=Budget(objective=Objective.SIZE, max_drop=2)
)
NOBODY: dict[str, Any] = {
    "model_id": "mdl_01h455vb4pex5vsknk084sn02q",
    "job_id": "job_01h455vb4pex5vsknk084sn02q",
    "template_id": "tpl_01h455vb4pex5vsknk084sn02q",
}


@pytest.fixture
def model(client: Client, guest: Guest, tmp_path: Path) -> ModelRead:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return guest.model(client, path)


@pytest.fixture
def job(client: Client, guest: Guest, model: ModelRead, tmp_path: Path) -> JobRead:
    path = tmp_path / "data.npz"
    path.write_bytes(b"data")
    data = guest.dataset(client, path)
    spec = facts.spec(model.id, data.id, name="first", labels={"team": "vision"}, budget={"max_drop": 3})
    return client.jobs.submit(spec)


def test_a_clone_is_the_same_order_again(client: Client, job: JobRead) -> None:
    client.jobs.change(job.id, ResourceChange(name="renamed", labels={"stage": "prod"}))
    clone = client.jobs.clone(job.id)
    assert clone.id != job.id
    assert (clone.name, clone.labels) == ("renamed", {"team": "vision", "stage": "prod"})
    assert clone.spec == job.spec.model_copy(update={"name": "renamed"})
    assert [step.kind for step in clone.steps] == [step.kind for step in job.steps]


def test_a_clone_differs_where_it_is_told_to(client: Client, job: JobRead) -> None:
    wanted = Overrides(name="second", labels={}, plan=Search(), targets=(Target.OPENVINO_CPU,), without_dataset=True)
    clone = client.jobs.clone(job.id, wanted)
    assert (clone.name, clone.labels) == ("second", {})
    assert clone.spec.dataset_id is None
    assert (clone.spec.plan.kind, clone.spec.targets) == ("search", (Target.OPENVINO_CPU,))
    assert (clone.spec.model_id, clone.spec.budget) == (job.spec.model_id, job.spec.budget)


def test_a_clone_is_checked_like_any_order(bare: Running, client: Client, job: JobRead) -> None:
    with pytest.raises(NotFound) as missing:
        client.jobs.clone(job.id, Overrides(model_id=NOBODY["model_id"]))
    assert missing.value.code == "model_not_found"
    twice = {"targets": ["onnxruntime/cpu", "onnxruntime/cpu"]}
    answer = client._http.post(f"/v1/jobs/{job.id}/clone", json=twice)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_overrides")
    with Client(bare.url, new_tenant(bare)) as stranger, pytest.raises(NotFound) as hidden:
        stranger.jobs.clone(job.id)
    assert hidden.value.code == "job_not_found"


def test_a_template_is_an_order_without_model_and_data(client: Client, model: ModelRead, job: JobRead) -> None:
    made = client.templates.create(TemplateCreate(name="small", description="for phones", order=SMALL))
    assert client.templates.get(made.id) == made
    assert [row.id for row in client.templates.list()] == [made.id]
    ordered = client.templates.submit(made.id, TemplateUse(model_id=model.id, dataset_id=job.spec.dataset_id))
    assert ordered.spec.plan == SMALL.plan
    assert ordered.spec.budget == SMALL.budget
    assert (ordered.name, ordered.spec.dataset_id) == (model.name, job.spec.dataset_id)
    other = TemplateUse(model_id=model.id, name="named", labels={"by": "template"}, targets=(Target.OPENVINO_CPU,))
    second = client.templates.submit(made.id, other)
    assert (second.name, second.labels, second.spec.targets) == ("named", {"by": "template"}, (Target.OPENVINO_CPU,))


def test_a_template_changes_and_its_jobs_do_not(client: Client, model: ModelRead) -> None:
    made = client.templates.create(TemplateCreate(name="small", order=SMALL))
    job = client.templates.submit(made.id, TemplateUse(model_id=model.id))
    changed = client.templates.change(made.id, TemplateChange(order=JobTemplate(targets=(Target.OPENVINO_CPU,))))
    assert (changed.name, changed.order.targets) == ("small", (Target.OPENVINO_CPU,))
    assert changed.changed_at > made.changed_at
    assert client.jobs.get(job.id).spec.plan == SMALL.plan
    late = client._http.patch(f"/v1/templates/{made.id}", json={"name": "x"}, headers={"If-Match": '"0123"'})
    assert (late.status_code, late.json()["code"]) == (412, "changed_meanwhile")
    client.templates.delete(made.id)
    assert client.jobs.get(job.id).spec == job.spec
    for gone in (client.templates.get, client.templates.delete):
        with pytest.raises(NotFound):
            gone(made.id)


def test_names_of_templates_are_taken_once_in_a_tenant(bare: Running, client: Client) -> None:
    first, second = (client.templates.create(TemplateCreate(name=name, order=SMALL)) for name in ("one", "two"))
    for refused in (
        lambda: client.templates.create(TemplateCreate(name="one", order=SMALL)),
        lambda: client.templates.change(second.id, TemplateChange(name="one")),
    ):
        with pytest.raises(Conflict) as taken:
            refused()
        assert taken.value.code == "template_name_taken"
    assert client.templates.change(first.id, TemplateChange(name="one")).name == "one"
    with Client(bare.url, new_tenant(bare)) as stranger:
        assert stranger.templates.create(TemplateCreate(name="one", order=SMALL)).name == "one"
        with pytest.raises(NotFound):
            stranger.templates.get(first.id)


def test_jobs_are_put_side_by_side(client: Client, guest: Guest, tmp_path: Path) -> None:
    first, second = (done_job(client, guest, tmp_path) for _ in range(2))
    unfinished = client.jobs.clone(first.id, Overrides(name="third", budget=Budget(max_drop=2)))
    found = client.jobs.compare(first.id, second.id, unfinished.id)
    assert [(job.id, job.state) for job in found.jobs] == [
        (first.id, "succeeded"), (second.id, "succeeded"), (unfinished.id, "queued"),
    ]  # fmt: skip
    assert [(row.target, row.job_id) for row in found.results] == [
        (target, job.id) for target in (Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU) for job in (first, second)
    ]
    assert [row.against_first is None for row in found.results] == [True, False, True, False]
    against = found.results[1].against_first
    assert against is not None
    assert (against.growth, against.unknown) == (1, {})
    assert against.slowdown is not None
    assert against.slowdown.value == pytest.approx(1)
    assert against.slowdown.low < 1 < against.slowdown.high
    assert against.drop is not None
    differs = {each.field: each.values for each in found.differences}
    assert differs["budget/max_drop"] == {first.id: None, second.id: None, unfinished.id: 2}
    assert "model_id" in differs  # it was uploaded twice
    assert differs["model_sha256"][unfinished.id] is None
    assert differs["model_sha256"][first.id] == differs["model_sha256"][second.id]
    assert not any(field.startswith(("name", "labels", "targets")) for field in differs)


def test_what_was_done_is_compared_too(client: Client, guest: Guest, tmp_path: Path) -> None:
    first, second = (done_job(client, guest, tmp_path) for _ in range(2))
    clone = client.jobs.compare(first.id, second.id)
    assert {each.field for each in clone.differences} == {"model_id"}


def test_what_cannot_be_compared(bare: Running, client: Client, job: JobRead) -> None:
    for asked in ([job.id], [job.id, job.id], [job.id] * 11):
        with pytest.raises(Invalid):
            client.jobs.compare(*asked)
    with pytest.raises(NotFound):
        client.jobs.compare(job.id, NOBODY["job_id"])
    other = client.jobs.clone(job.id)
    with Client(bare.url, new_tenant(bare)) as stranger, pytest.raises(NotFound):
        stranger.jobs.compare(job.id, other.id)
