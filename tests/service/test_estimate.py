"""What an order would take, told before it is given: by rules at first, then by what the tenant's own steps took."""

from pathlib import Path

import pytest

from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query
from tests.service.test_steps import finish_deliver, finish_optimize
from whetstone.client import Client
from whetstone.contract.estimates import Basis, JobEstimate
from whetstone.contract.jobs import JobSpec, StepKind
from whetstone.contract.learning import Finetune
from whetstone.contract.models import ModelRead, Refusal
from whetstone.contract.quantization import Quantize
from whetstone.contract.scenarios import MultiStream, Offline
from whetstone.contract.search import Limit, Search
from whetstone.contract.targets import Target
from whetstone.errors import Invalid, NotFound

BOTH = (Target.ONNXRUNTIME_CPU, Target.OPENVINO_CPU)


@pytest.fixture
def model(client: Client, guest: Guest, tmp_path: Path) -> ModelRead:
    return upload(client, guest, tmp_path, "model.onnx")


def upload(client: Client, guest: Guest, tmp_path: Path, name: str, **changes: object) -> ModelRead:
    path = tmp_path / name
    path.write_bytes(f"content of {name}".encode())
    return guest.model(client, path, facts.MODEL.model_copy(update=changes))


def seconds(found: JobEstimate, kind: StepKind) -> float:
    return next(step.seconds for step in found.steps if step.kind is kind)


def test_each_step_is_told_and_nothing_is_ordered(client: Client, model: ModelRead) -> None:
    found = client.jobs.estimate(facts.spec(model.id, None, targets=BOTH))
    kinds = [(step.kind, step.target) for step in found.steps]
    assert kinds == [
        (StepKind.OPTIMIZE, None),
        (StepKind.DELIVER, BOTH[0]),
        (StepKind.DELIVER, BOTH[1]),
        (StepKind.REPORT, None),
    ]
    assert all((step.basis, step.learned_from) == (Basis.RULE, 0) for step in found.steps)
    assert found.seconds == pytest.approx(sum(step.seconds for step in found.steps))
    assert found.memory == max(step.memory for step in found.steps)
    assert list(client.jobs.list()) == []


def test_more_work_takes_more(client: Client, guest: Guest, model: ModelRead, tmp_path: Path) -> None:
    large = upload(client, guest, tmp_path, "large.onnx", params=100_000_000, macs=10**10)
    (tmp_path / "data.npz").write_bytes(b"data")
    data = guest.dataset(client, tmp_path / "data.npz")

    def plan(model_id: str, *passes: Quantize | Finetune) -> float:
        return seconds(client.jobs.estimate(facts.spec(model_id, data.id, *passes)), StepKind.OPTIMIZE)

    assert plan(large.id, Quantize()) > 5 * plan(model.id, Quantize())
    assert plan(large.id, Finetune(epochs=20)) > 1.5 * plan(large.id, Finetune(epochs=10))
    longer = facts.spec(model.id, data.id, measurement={"max_seconds": 100})
    usual = facts.spec(model.id, data.id)
    delivered = [seconds(client.jobs.estimate(spec), StepKind.DELIVER) for spec in (usual, longer)]
    assert delivered[1] - delivered[0] > 30
    loaded = facts.spec(model.id, data.id, measurement={"scenarios": (MultiStream(processes=8), Offline())})
    under_load = client.jobs.estimate(loaded)
    assert seconds(under_load, StepKind.DELIVER) > delivered[0] + 10
    assert under_load.memory > client.jobs.estimate(usual).memory + 2**30
    assert client.jobs.estimate(facts.spec(large.id, data.id)).memory > 2**30 + 4 * 100_000_000


def test_a_search_takes_its_limit_at_most(client: Client, model: ModelRead) -> None:
    def search(**limit: float) -> float:
        plan = Search(limit=Limit.model_validate(limit))
        return seconds(client.jobs.estimate(JobSpec(model_id=model.id, plan=plan)), StepKind.SEARCH)

    assert search(minutes=1, trials=500) == pytest.approx(60, abs=5)
    assert search(minutes=1000, trials=10) < search(minutes=1000, trials=20) < 1000


def test_a_target_that_cannot_be_reached(client: Client, guest: Guest, tmp_path: Path) -> None:
    refusal = Refusal(runtime="openvino", because="no rule", ops=("com.microsoft.Gemm",))
    refused = upload(client, guest, tmp_path, "refused.onnx", refusals=(refusal,))
    found = client.jobs.estimate(facts.spec(refused.id, None, targets=BOTH))
    assert [target.feasible for target in found.targets] == [True, False]
    assert found.targets[1].unsupported == {"com.microsoft.Gemm": 1}
    assert found.targets[1].because == "no rule"
    assert [step.target for step in found.steps if step.kind is StepKind.DELIVER] == [BOTH[0]]
    assert found.feasible
    assert not client.jobs.estimate(facts.spec(refused.id, None, targets=BOTH[1:])).feasible
    with pytest.raises(Invalid, match="openvino: no rule") as caught:
        client.jobs.submit(facts.spec(refused.id, None, targets=BOTH[1:]))
    assert caught.value.code == "target_unsupported"
    assert client.jobs.submit(facts.spec(refused.id, None, targets=BOTH)).id


def test_what_would_be_refused_is_refused(client: Client, bare: Running, model: ModelRead) -> None:
    with pytest.raises(Invalid, match="needs a dataset"):
        client.jobs.estimate(facts.spec(model.id, None, Quantize()))
    with Client(bare.url, new_tenant(bare)) as stranger, pytest.raises(NotFound):
        stranger.jobs.estimate(facts.spec(model.id))


def test_it_learns_from_the_tenants_own_steps(
    client: Client, guest: Guest, bare: Running, model: ModelRead, tmp_path: Path
) -> None:
    order = facts.spec(model.id)
    by_rule = client.jobs.estimate(order)
    job = client.jobs.submit(order)
    finish_optimize(guest, guest.claim(job.id), tmp_path)
    finish_deliver(guest, guest.claim(job.id), tmp_path)
    query(bare, "update steps set finished_at = started_at + interval '300 seconds' where subject_id = %s", job.id)
    learned = client.jobs.estimate(order)
    for kind in (StepKind.OPTIMIZE, StepKind.DELIVER):
        assert seconds(learned, kind) == pytest.approx(300, rel=0.01)
        assert seconds(by_rule, kind) < 100
    assert {(step.basis, step.learned_from) for step in learned.steps if step.kind is not StepKind.REPORT} == {
        (Basis.HISTORY, 1)
    }
    with Client(bare.url, new_tenant(bare)) as stranger:
        own = upload(stranger, guest, tmp_path, "model.onnx")
        assert stranger.jobs.estimate(facts.spec(own.id)).seconds == by_rule.seconds


def test_without_prices_nothing_costs_and_money_is_no_limit(client: Client, model: ModelRead) -> None:
    assert client.jobs.estimate(facts.spec(model.id)).price is None
    order = JobSpec(model_id=model.id, plan=Search(limit=Limit(money=1)))
    for ask in (client.jobs.estimate, client.jobs.submit):
        with pytest.raises(Invalid, match="no_prices"):
            ask(order)
