"""What is refused when a job is submitted, before anything is queued."""

from pathlib import Path
from typing import Any

import pytest

from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, upload
from whetstone.client import Client
from whetstone.contract.datasets import DatasetFacts, FieldFacts
from whetstone.contract.factorization import Factorize
from whetstone.contract.learning import Finetune
from whetstone.contract.losses import LabelLoss, MeanSquaredError, SoftLabels
from whetstone.contract.models import ModelFacts, ModelRead, TensorFacts
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.pruning import Criterion, Granularity, Polynomial, Prune
from whetstone.contract.quantization import Activations, Precision, Quantize, Rounding, Smooth
from whetstone.contract.steps import InputRole
from whetstone.errors import Conflict, Invalid, NotFound

ONE, OTHER = "mdl_01h455vb4pex5vsknk084sn02q", "mdl_01h455vb4pex5vsknk084sn02r"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    model, data = tmp_path / "model.onnx", tmp_path / "data.npz"
    model.write_bytes(b"a model")
    data.write_bytes(b"a dataset")
    return model, data


def _with_field(**changes: Any) -> DatasetFacts:
    field = FieldFacts(name="x", dtype="float32", shape=(4,)).model_copy(update=changes)
    return facts.DATASET.model_copy(update={"fields": (field,)})


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (_with_field(name="y"), "no such array"),
        (_with_field(dtype="float64"), "the model takes float32, the dataset has float64"),
        (_with_field(shape=(5,)), "a sample of the dataset is [5]"),
        (_with_field(shape=(4, 1)), "a sample of the dataset is [4, 1]"),
    ],
)
def test_a_dataset_that_does_not_fit(
    client: Client, guest: Guest, files: tuple[Path, Path], found: DatasetFacts, says: str
) -> None:
    model, data = guest.model(client, files[0]), guest.dataset(client, files[1], found)
    with pytest.raises(Invalid) as refused:
        client.jobs.submit(facts.spec(model.id, data.id))
    assert refused.value.code == "dataset_mismatch"
    assert says in str(refused.value)
    assert list(client.jobs.list()) == []


@pytest.mark.parametrize(
    ("passes", "code"),
    [
        ((Finetune(loss=LabelLoss.CROSS_ENTROPY),), "labels_required"),
        ((Finetune(losses=(SoftLabels(), MeanSquaredError())),), "labels_required"),
        ((Finetune(teacher=ONE), Finetune(teacher=OTHER)), "invalid_plan"),
        ((Prune(schedule=Polynomial()),), "labels_required"),
        ((Prune(granularity=Granularity.CHANNEL, criterion=Criterion.TAYLOR),), "labels_required"),
        ((Quantize(), Prune()), "invalid_plan"),
        ((Quantize(), Factorize()), "invalid_plan"),
        ((Quantize(), Quantize(activations=Activations.DYNAMIC)), "invalid_plan"),
        ((Quantize(activations=Activations.DYNAMIC), Finetune()), "invalid_plan"),
        ((Quantize(activations=Activations.NONE), Finetune()), "invalid_plan"),
        ((Quantize(precision=Precision.FP16), Finetune()), "invalid_plan"),
        ((Quantize(precision=Precision.BF16), Finetune()), "invalid_plan"),
        ((Quantize(), Finetune(student=ONE)), "invalid_plan"),
        ((Quantize(), Finetune(width=0.5)), "invalid_plan"),
        ((Finetune(learn_scales=True), Quantize()), "invalid_plan"),
        ((Prune(exclude=("nowhere",)),), "unknown_layer"),
        ((Quantize(exclude=("dense", "nowhere")),), "unknown_layer"),
    ],
)
def test_a_plan_that_cannot_be_run(
    client: Client, guest: Guest, files: tuple[Path, Path], passes: tuple[Pass, ...], code: str
) -> None:
    model, data = guest.model(client, files[0]), guest.dataset(client, files[1], facts.UNLABELLED)
    with pytest.raises(Invalid) as refused:
        client.jobs.submit(facts.spec(model.id, data.id, *passes))
    assert refused.value.code == code
    assert refused.value.problem.hint


@pytest.mark.parametrize(
    "config",
    [
        Quantize(),
        Quantize(activations=Activations.DYNAMIC, smooth=Smooth()),
        Quantize(activations=Activations.DYNAMIC, bias_correction=True),
        Quantize(precision=Precision.INT4, rounding=Rounding.LEARNED),
        Finetune(loss=LabelLoss.MSE),
        Prune(schedule=Polynomial()),
        Prune(granularity=Granularity.CHANNEL, reconstruct=True),
    ],
)
def test_a_plan_that_needs_data(client: Client, guest: Guest, files: tuple[Path, Path], config: Pass) -> None:
    model = guest.model(client, files[0])
    with pytest.raises(Invalid) as refused:
        client.jobs.submit(facts.spec(model.id, None, config))
    assert refused.value.code == "dataset_required"


@pytest.mark.parametrize(
    "config", [Quantize(precision=Precision.INT4), Quantize(activations=Activations.NONE), Quantize(smooth=Smooth())]
)
def test_products_are_there_to_be_stored_or_smoothed(
    client: Client, guest: Guest, files: tuple[Path, Path], config: Quantize
) -> None:
    found = facts.MODEL.model_copy(update={"ops": {"Conv": 3, "Relu": 2}})
    model, data = guest.model(client, files[0], found), guest.dataset(client, files[1])
    with pytest.raises(Invalid) as refused:
        client.jobs.submit(facts.spec(model.id, data.id, config))
    assert refused.value.code == "invalid_plan"
    assert "no MatMul or Gemm" in str(refused.value)


def test_an_accuracy_to_keep_needs_classes(client: Client, guest: Guest, files: tuple[Path, Path]) -> None:
    model = guest.model(client, files[0])
    budget = {"min_accuracy": 0.9}
    for data in (None, guest.dataset(client, files[1], facts.UNLABELLED).id):
        with pytest.raises(Invalid) as refused:
            client.jobs.submit(facts.spec(model.id, data, facts.DYNAMIC, budget=budget))
        assert refused.value.code == "labels_required"
        assert refused.value.problem.errors[0].field == "budget/min_accuracy"
    files[1].write_bytes(b"with labels")
    labelled = guest.dataset(client, files[1])
    assert client.jobs.submit(facts.spec(model.id, labelled.id, facts.DYNAMIC, budget=budget))


@pytest.mark.parametrize("limit", [{"trials": 0}, {"minutes": 0}, {"trials": 501}])
def test_a_search_without_room_is_refused(
    client: Client, guest: Guest, files: tuple[Path, Path], limit: dict[str, int]
) -> None:
    order = {"model_id": guest.model(client, files[0]).id, "plan": {"kind": "search", "limit": limit}}
    with pytest.raises(Invalid) as refused:
        client.request("POST", "/v1/jobs", json=order)
    assert refused.value.problem.errors[0].field == f"plan/limit/{next(iter(limit))}"


def test_a_teacher_is_another_of_the_tenants_models(
    client: Client, bare: Running, guest: Guest, files: tuple[Path, Path]
) -> None:
    model = guest.model(client, files[0])
    files[1].write_bytes(b"a teacher")
    teacher = guest.model(client, files[1])
    job = client.jobs.submit(facts.spec(model.id, None, Finetune(teacher=teacher.id)))
    with pytest.raises(Conflict) as refused:
        client.models.delete(teacher.id)
    assert refused.value.code == "still_in_use"
    roles = {given.role: given.sha256 for given in guest.claim(job.id).inputs}
    assert roles == {InputRole.MODEL: model.sha256, InputRole.TEACHER: teacher.sha256}
    client.jobs.cancel(job.id)
    client.models.delete(teacher.id)
    with Client(bare.url, new_tenant(bare)) as stranger:
        own = guest.model(stranger, files[0])
        with pytest.raises(NotFound):
            stranger.jobs.submit(facts.spec(own.id, None, Finetune(teacher=model.id)))


def _with_input(dtype: str, *shape: int | str | None) -> ModelFacts:
    return facts.MODEL.model_copy(update={"inputs": (TensorFacts(name="x", dtype=dtype, shape=shape),)})


def test_without_data_shapes_must_be_known(client: Client, guest: Guest, files: tuple[Path, Path]) -> None:
    model = guest.model(client, files[0], _with_input("float32", "batch", "width"))
    for shapes in ({}, {"x": (1,)}):
        with pytest.raises(Invalid) as refused:
            client.jobs.submit(facts.spec(model.id, None, facts.DYNAMIC, input_shapes=shapes))
        assert refused.value.code == "shape_required"
    assert client.jobs.submit(facts.spec(model.id, None, facts.DYNAMIC, input_shapes={"x": (1, 8)}))


def test_inputs_that_cannot_be_made_up_need_data(client: Client, guest: Guest, files: tuple[Path, Path]) -> None:
    model = guest.model(client, files[0], _with_input("int64", "batch", 4))
    with pytest.raises(Invalid) as refused:
        client.jobs.submit(facts.spec(model.id))
    assert refused.value.code == "dataset_required"
    assert "int64" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"plan": {"kind": "recipe", "passes": [{"kind": "magic"}]}}, "plan/passes/0"),
        ({"plan": {"kind": "recipe", "passes": [{"kind": "prune", "sparsity": 1.5}]}}, "plan/passes/0/sparsity"),
        ({"plan": {"kind": "recipe", "passes": [{"kind": "quantize", "bits": 3}]}}, "plan/passes/0/bits"),
        ({"plan": {"kind": "recipe", "passes": []}}, "plan/passes"),
        ({"targets": ["cuda/cpu"]}, "targets/0"),
        ({"targets": ["onnxruntime/cpu", "onnxruntime/cpu"]}, "body"),
        ({"budget": {"max_drop": -1}}, "budget/max_drop"),
        ({"model_id": "dat_01h455vb4pex5vsknk084sn02q"}, "model_id"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_an_order_that_is_no_order(
    client: Client, guest: Guest, files: tuple[Path, Path], change: dict[str, Any], field: str
) -> None:
    model = guest.model(client, files[0])
    order = facts.spec(model.id, None, Simplify()).model_dump(mode="json") | change
    with pytest.raises(Invalid) as refused:
        client.request("POST", "/v1/jobs", json=order)
    assert refused.value.code == "invalid_request"
    assert field in {error.field for error in refused.value.problem.errors}


def test_a_model_that_is_not_ready(client: Client, files: tuple[Path, Path]) -> None:
    row = upload(client, "/v1/models", files[0], ModelRead)
    with pytest.raises(Conflict) as refused:
        client.jobs.submit(facts.spec(row.id))
    assert refused.value.code == "not_ready"
    assert "Prefer: wait" in str(refused.value)


def test_what_does_not_exist(client: Client, guest: Guest, files: tuple[Path, Path]) -> None:
    model = guest.model(client, files[0])
    with pytest.raises(NotFound) as refused:
        client.jobs.submit(facts.spec("mdl_01h455vb4pex5vsknk084sn02q"))
    assert refused.value.code == "model_not_found"
    with pytest.raises(NotFound) as refused:
        client.jobs.submit(facts.spec(model.id, "dat_01h455vb4pex5vsknk084sn02q"))
    assert refused.value.code == "dataset_not_found"
    with pytest.raises(NotFound) as refused:
        client.jobs.get("job_01h455vb4pex5vsknk084sn02q")
    assert refused.value.code == "job_not_found"
