"""From the end of a step to a proof in another's hands: the real service signs, a test acts as its worker."""

import base64
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.embedded import service as embedded
from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query
from tests.service.conftest import QUICK, data_folder
from tests.service.test_steps import finish_optimize, output
from whetstone import verify
from whetstone.client import Client
from whetstone.contract.jobs import ArtifactKind, JobRead
from whetstone.contract.provenance import MANIFESTS, Statement
from whetstone.contract.steps import Delivered, Finish, InputRole, MakeReport, Order, PackedFile, ReportMade
from whetstone.contract.targets import Target
from whetstone.verify import NotProven

TARGET = Target.ONNXRUNTIME_CPU


def whet(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "whetstone.cli", *map(str, words)]
    return subprocess.run(command, text=True, capture_output=True, check=False)


def until_the_report(client: Client, guest: Guest, folder: Path) -> tuple[JobRead, Order]:
    """A job whose target was delivered with a kit; the report is claimed."""
    path = folder / "model.onnx"
    path.write_bytes(b"a model")
    job = client.jobs.submit(facts.spec(guest.model(client, path).id, None, targets=(TARGET,)))
    finish_optimize(guest, guest.claim(job.id), folder)
    order = guest.claim(job.id)
    made = output(guest, order, folder, "onnxruntime-cpu.onnx")
    kit = output(guest, order, folder, "onnxruntime-cpu.kit.tar.gz", ArtifactKind.KIT)
    packed = (PackedFile(name="reproduce.py", sha256="1" * 64),)
    result = Delivered(report=facts.target_report(TARGET), packed=packed)
    guest.control.finish(order.token, Finish(result=result, outputs=(made, kit)))
    return job, guest.claim(job.id)


def end(client: Client, guest: Guest, job: JobRead, order: Order, folder: Path) -> Path:
    """The report is made; everything is downloaded."""
    page = output(guest, order, folder, "report.html", ArtifactKind.REPORT)
    guest.control.finish(order.token, Finish(result=ReportMade(), outputs=(page,)))
    client.jobs.wait(job.id)
    client.jobs.download(job.id, folder / "results")
    return folder / "results"


def test_what_is_delivered_is_signed_and_can_be_proven(
    bare: Running, client: Client, guest: Guest, tmp_path: Path
) -> None:
    job, order = until_the_report(client, guest, tmp_path)
    assert isinstance(order.task, MakeReport)
    assert [(given.role, given.filename) for given in order.inputs] == [(InputRole.KIT, "onnxruntime-cpu.kit.tar.gz")]
    statement = Statement.model_validate_json(base64.b64decode(order.task.manifests[TARGET].payload))
    assert {subject.name for subject in statement.subject} == {"onnxruntime-cpu.onnx", "reproduce.py"}
    assert statement.predicate.inputs[0].digest.sha256 == sha256(b"a model").hexdigest()
    (claim,) = statement.predicate.claims
    assert (claim.target, claim.result.operators, claim.result.latency.curve) == (TARGET, (), ())
    results = end(client, guest, job, order, tmp_path)
    assert {file.name for file in results.iterdir()} == {
        "model.onnx", "onnxruntime-cpu.onnx", "report.html", MANIFESTS,
    }  # fmt: skip
    for name in ("onnxruntime-cpu.onnx", "report.html"):
        done = whet("verify", results / name, "--manifest", results / MANIFESTS, "--url", bare.url)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"proven: {name}")
    keys = tmp_path / "keys.json"
    keys.write_text(whet("signing-keys", "--url", bare.url).stdout)
    (results / "report.html").write_text("another page")
    lie = whet("verify", results / "report.html", "--manifest", results / MANIFESTS, "--keys", keys)
    assert lie.returncode == 1
    assert "No manifest names report.html" in lie.stderr
    assert query(bare, "select 1 from artifacts where job_id = %s and kind = 'kit'", job.id) == []


def test_a_cancelled_job_leaves_no_kit(bare: Running, client: Client, guest: Guest, tmp_path: Path) -> None:
    job, order = until_the_report(client, guest, tmp_path)
    assert query(bare, "select count(*) from artifacts where job_id = %s and kind = 'kit'", job.id) == [(1,)]
    client.jobs.cancel(job.id)
    guest.control.finish(order.token, Finish(result=ReportMade(), outputs=()))
    assert query(bare, "select 1 from artifacts where job_id = %s and kind = 'kit'", job.id) == []


def test_another_key_signs_from_now_on_and_the_old_one_still_proves(tmp_path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    proofs = []
    with data_folder() as var:
        for number, more in enumerate(({}, {"WHETSTONE_SIGNING_KEY": str(tmp_path / "key.pem")})):
            with (
                embedded.running(var, "127.0.0.1", 0, worker=False, **QUICK, **more) as service,
                Guest(service) as guest,
            ):
                folder = tmp_path / str(number)
                folder.mkdir()
                with Client(service.url, new_tenant(service)) as client:
                    results = end(client, guest, *until_the_report(client, guest, folder), folder)
                proofs.append((results / "onnxruntime-cpu.onnx", verify.read_manifests(results / MANIFESTS)))
                keys = verify.fetch_keys(service.url)
        assert [key.current for key in keys] == [False, True]
        proven = [verify.verify_file(file, manifests, verify.usable(keys)) for file, manifests in proofs]
        assert [one.keyid for one in proven] == [key.keyid for key in keys]
        with pytest.raises(NotProven, match="not known"):
            verify.verify_file(*proofs[0], verify.usable(keys[1:]))


def test_anyone_may_ask_for_the_keys(bare: Running) -> None:
    answer = httpx.get(f"{bare.url}/v1/signing-keys")
    assert answer.status_code == 200
    assert sum(key["current"] for key in answer.json()) == 1
    assert all("PRIVATE" not in key["public_key"] for key in answer.json())
