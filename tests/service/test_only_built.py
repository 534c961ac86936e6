"""Targets that results are built for and not run on: what is refused, and what a job with them says."""

import base64
from pathlib import Path

import pytest

from app.embedded.service import Running
from examples import digits
from tests.service import facts
from tests.service.actors import Guest
from tests.service.test_steps import finish_deliver, finish_optimize, output
from whetstone import verify
from whetstone.client import Client
from whetstone.contract.jobs import ArtifactKind, JobSpec
from whetstone.contract.provenance import Statement
from whetstone.contract.quantization import Form, Quantize
from whetstone.contract.reports import BuiltReport, VerdictKind
from whetstone.contract.search import Search
from whetstone.contract.steps import Deliver, Delivered, Finish, MakeReport, Order, ReportMade
from whetstone.contract.targets import Target
from whetstone.contract.toolkits import Toolkit
from whetstone.contract.tuning import Tune
from whetstone.errors import Invalid
from workers.engine.toolkits.environments import is_built

BUILT, RUN = Target.TENSORRT_RTX_SM89, Target.ONNXRUNTIME_CPU
TUNE = Tune.model_validate({
    "passes": [{"kind": "quantize", "activations": "dynamic"}],
    "parameters": {"0.per_channel": {"kind": "choice", "values": [True, False]}},
    "objectives": ["size"],
})  # fmt: skip


@pytest.fixture
def model_id(client: Client, guest: Guest, tmp_path: Path) -> str:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    return guest.model(client, path).id


@pytest.mark.parametrize("plan", [Search(), TUNE], ids=["search", "tune"])
@pytest.mark.parametrize("targets", [(BUILT,), (RUN, BUILT)], ids=["alone", "beside another"])
def test_what_measures_on_its_targets_is_refused(
    client: Client, model_id: str, plan: Search | Tune, targets: tuple[Target, ...]
) -> None:
    spec = JobSpec(model_id=model_id, plan=plan, targets=targets)
    for order in (client.jobs.submit, client.jobs.estimate):
        with pytest.raises(Invalid) as refused:
            order(spec)
        assert refused.value.code == "invalid_plan"
        assert f"Nothing can be measured on {BUILT}" in str(refused.value)


def test_it_is_told_which_targets_are_only_built(client: Client) -> None:
    told = {target.name: target.only_built for target in client.targets()}
    assert told == {target: target.value.startswith("tensorrt-rtx/") for target in Target}


def test_an_estimate_counts_no_measuring(client: Client, model_id: str) -> None:
    measured, built = (
        next(step for step in client.jobs.estimate(facts.spec(model_id, None, targets=(target,))).steps if step.target)
        for target in (RUN, BUILT)
    )
    assert built.seconds < measured.seconds


def finish_build(guest: Guest, order: Order, folder: Path, kind: VerdictKind = VerdictKind.BUILT) -> None:
    assert isinstance(order.task, Deliver)
    made = output(guest, order, folder, "tensorrt-rtx-sm89.engine")
    report = facts.built_report(order.task.target, kind)
    guest.control.finish(order.token, Finish(result=Delivered(report=report), outputs=(made,)))


def claim_by_target(guest: Guest, job_id: str, count: int) -> dict[Target, Order]:
    orders = [guest.claim(job_id) for _ in range(count)]
    return {order.task.target: order for order in orders if isinstance(order.task, Deliver)}


def test_what_was_measured_speaks_for_the_job_and_both_are_told(
    client: Client, guest: Guest, model_id: str, tmp_path: Path
) -> None:
    job = client.jobs.submit(facts.spec(model_id, None, targets=(BUILT, RUN)))
    finish_optimize(guest, guest.claim(job.id), tmp_path)
    orders = claim_by_target(guest, job.id, 2)
    finish_build(guest, orders[BUILT], tmp_path)
    finish_deliver(guest, orders[RUN], tmp_path, VerdictKind.NO_GAIN)
    order = guest.claim(job.id)
    assert isinstance(order.task, MakeReport)
    signed = Statement.model_validate_json(base64.b64decode(order.task.manifests[BUILT].payload))
    (claim,) = signed.predicate.claims
    assert isinstance(claim, BuiltReport)
    assert (claim.verdict.kind, claim.kernels, claim.precisions) == (VerdictKind.BUILT, (), {"i8": 1})
    page = output(guest, order, tmp_path, "report.html", ArtifactKind.REPORT)
    guest.control.finish(order.token, Finish(result=ReportMade(), outputs=(page,)))
    report = client.jobs.wait(job.id)
    assert (report.verdict.kind, report.verdict.reason) == (VerdictKind.NO_GAIN, f"{RUN}: because")
    assert [one.target for one in report.targets] == [RUN]
    assert [one.target for one in report.built] == [BUILT]


@pytest.mark.parametrize("kind", [VerdictKind.BUILT, VerdictKind.OVER_BUDGET, VerdictKind.NO_GAIN])
def test_a_job_that_only_builds_says_so(
    client: Client, guest: Guest, model_id: str, tmp_path: Path, kind: VerdictKind
) -> None:
    job = client.jobs.submit(facts.spec(model_id, None, targets=(BUILT,)))
    finish_optimize(guest, guest.claim(job.id), tmp_path)
    finish_build(guest, guest.claim(job.id), tmp_path, kind)
    order = guest.claim(job.id)
    guest.control.finish(order.token, Finish(result=ReportMade(), outputs=()))
    report = client.jobs.wait(job.id)
    assert report.verdict.kind is kind
    assert (report.targets, [one.target for one in report.built]) == ((), [BUILT])


@pytest.mark.skipif(
    not is_built(Toolkit.TENSORRT_RTX),
    reason="the toolkit is not built: python -m workers toolkits install tensorrt-rtx",
)
def test_a_real_worker_builds_in_its_sandbox(full: Running, full_client: Client, tmp_path: Path) -> None:
    """Quantized in NVIDIA's form, and the CPU target beside it, which takes that form too."""
    digits.write(tmp_path)
    model = full_client.models.upload(tmp_path / "digits.onnx")
    data = full_client.datasets.upload(tmp_path / "digits.npz")
    recipe = Quantize(form=Form.NVIDIA)
    how = {"targets": (BUILT, RUN), "budget": {"max_drop": 3}, "measurement": {"max_seconds": 2}}
    job = full_client.jobs.submit(facts.spec(model.id, data.id, recipe, **how))
    report = full_client.jobs.wait(job.id)
    (built,) = report.built
    assert built.verdict.kind is VerdictKind.BUILT
    assert "i8" in built.precisions
    assert built.accuracy is not None
    assert built.accuracy.samples == 629
    files = {path.name: path for path in full_client.jobs.download(job.id, tmp_path / "results")}
    assert files["tensorrt-rtx-sm89.engine"].stat().st_size == built.size
    assert {"tensorrt-rtx-sm89.onnx", "tensorrt-rtx-sm89.bundle.tar.gz", "onnxruntime-cpu.onnx"} <= files.keys()
    assert "Built, not run" in files["report.html"].read_text()
    keys = verify.usable(verify.fetch_keys(full.url))
    proven = verify.verify_bundle(files["tensorrt-rtx-sm89.bundle.tar.gz"], keys)
    assert "engine/tensorrt-rtx-sm89.engine" in proven.names
