"""Rules of how long things are kept: what they delete, and what they must not."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app.core.database import create_engine, plain_url, sessions
from app.core.ids import Prefix, new_id
from app.core.scope import any_tenant
from app.embedded.service import Running
from app.retention import tasks
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, upload
from whetstone.client import Client
from whetstone.contract.datasets import DatasetRead
from whetstone.contract.jobs import ArtifactKind, JobRead
from whetstone.contract.models import ModelRead
from whetstone.contract.retention import RetentionPreview, RetentionRules
from whetstone.contract.steps import Finish, Optimized, OutputFile
from whetstone.errors import ChangedMeanwhile, Conflict, Invalid, NotFound

NOTHING = RetentionPreview(jobs=(), artifacts=(), models=(), datasets=(), audit_lines=0, files=0, bytes=0, more=False)


def apply(service: Running) -> None:
    """What the control worker does every half hour."""

    async def sweep() -> None:
        engine = create_engine(service.environment["WHETSTONE_DATABASE_URL"], 2)
        with any_tenant():
            await tasks.sweep(sessions(engine))
        await engine.dispose()

    asyncio.run(sweep())


def write(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(f"the bytes of {name}".encode())
    return path


def finished(service: Running, client: Client, guest: Guest, folder: Path, name: str, days: int) -> JobRead:
    """A job with one artifact that ended so many days ago."""
    job = client.jobs.submit(facts.spec(guest.model(client, write(folder, f"{name}.onnx")).id))
    order = guest.claim(job.id)
    stored = guest.control.upload(order.token, write(folder, f"{name}-smaller.onnx"))
    made = OutputFile(
        name="smaller.onnx", kind=ArtifactKind.MODEL, media_type="x/y", sha256=stored.sha256, size=stored.size
    )
    guest.control.finish(order.token, Finish(result=Optimized(passes=(facts.pass_report(),)), outputs=(made,)))
    client.jobs.cancel(job.id)
    query(service, "update jobs set finished_at = now() - make_interval(days => %s) where id = %s", days, job.id)
    assert client.jobs.get(job.id).state.is_final
    return job


def age(service: Running, table: str, row_id: str, days: int) -> None:
    query(
        service,
        f"update {table} set created_at = now() - make_interval(days => %s), last_used_at = last_used_at - "  # noqa: S608 - a test's own words
        "make_interval(days => %s) where id = %s",
        days,
        days,
        row_id,
    )


def test_rules_are_set_and_read(client: Client) -> None:
    assert client.retention.get().rules == RetentionRules()
    rules = RetentionRules(jobs_days=30, unused_days=90, audit_days=365)
    assert client.retention.set(rules).rules == rules
    answer = client.request("GET", "/v1/retention")
    with pytest.raises(ChangedMeanwhile):
        client.request("PUT", "/v1/retention", RetentionRules(), headers={"If-Match": '"old"'})
    client.request("PUT", "/v1/retention", rules, headers={"If-Match": answer.headers["etag"]})
    assert next(client.audit.list()).action == "set_retention"
    with pytest.raises(Invalid) as refused:
        client.request("PUT", "/v1/retention", content='{"jobs_days": 30, "audit_days": 29}', headers=JSON)
    assert "30 at least" in refused.value.problem.detail
    with pytest.raises(ValueError, match="30 at least"):
        RetentionRules(jobs_days=30, audit_days=29)


JSON = {"Content-Type": "application/json"}


def test_old_jobs_go_with_all_that_came_out_of_them(
    client: Client, bare: Running, guest: Guest, tmp_path: Path
) -> None:
    old = finished(bare, client, guest, tmp_path, "old", days=31)
    new = finished(bare, client, guest, tmp_path, "new", days=29)
    artifacts = client.jobs.artifacts(old.id)
    waiting = client.jobs.submit(facts.spec(old.spec.model_id))
    rules = RetentionRules(jobs_days=30)
    with Client(bare.url, new_tenant(bare)) as stranger:
        theirs = finished(bare, stranger, guest, tmp_path, "theirs", days=300)
        seen = client.retention.preview(rules)
        assert (seen.jobs, seen.models, seen.files, seen.bytes) == ((old.id,), (), 1, artifacts[0].size)
        assert {row.id for row in artifacts} == set(seen.artifacts)
        assert client.jobs.artifacts(old.id) == artifacts  # nothing has happened
        client.retention.set(rules)
        apply(bare)
        assert stranger.jobs.get(theirs.id).id == theirs.id
    assert [job.id for job in client.jobs.list()] == [waiting.id, new.id]
    with pytest.raises(NotFound):
        client.jobs.get(old.id)
    with pytest.raises(NotFound):
        client.request("GET", f"/v1/artifacts/{artifacts[0].id}")
    for table in ("job_events", "artifacts", "manifests"):
        assert query(bare, f"select 1 from {table} where job_id = %s", old.id) == []  # noqa: S608
    assert query(bare, "select 1 from steps where subject_id = %s", old.id) == []
    told = next(client.audit.list(action="apply_retention"))
    assert (told.user_id, told.details) == (None, {"jobs": 1, "artifacts": 1})
    assert client.retention.get().applied_at is not None
    assert client.retention.preview(rules) == NOTHING
    apply(bare)
    assert len(list(client.audit.list(action="apply_retention"))) == 1  # nothing went, nothing is told


def test_files_may_go_before_their_job(client: Client, bare: Running, guest: Guest, tmp_path: Path) -> None:
    job = finished(bare, client, guest, tmp_path, "job", days=8)
    client.retention.set(RetentionRules(artifacts_days=7, jobs_days=30))
    apply(bare)
    assert client.jobs.get(job.id).id == job.id
    assert client.jobs.artifacts(job.id) == ()


@contextmanager
def referred(service: Running, job_id: str) -> Iterator[None]:
    """Something that needs the job, as a link to its report does."""
    query(service, "create table links_for_a_test (job_id varchar(40) references jobs (id))")
    try:
        query(service, "insert into links_for_a_test values (%s)", job_id)
        yield
    finally:
        query(service, "drop table links_for_a_test")


def test_what_something_refers_to_stays_whole(client: Client, bare: Running, guest: Guest, tmp_path: Path) -> None:
    linked = finished(bare, client, guest, tmp_path, "linked", days=100)
    free = finished(bare, client, guest, tmp_path, "free", days=100)
    for rules in (RetentionRules(artifacts_days=10), RetentionRules(jobs_days=10)):
        with referred(bare, linked.id):
            client.retention.set(rules)
            apply(bare)
        assert len(client.jobs.artifacts(linked.id)) == 1
        assert len(query(bare, "select 1 from job_events where job_id = %s", linked.id)) > 1
    assert [job.id for job in client.jobs.list()] == [linked.id]
    assert free.id != linked.id


def test_what_a_link_leads_to_stays_until_it_ends(client: Client, bare: Running, guest: Guest, tmp_path: Path) -> None:
    job = finished(bare, client, guest, tmp_path, "shared", days=100)
    query(
        bare,
        "insert into shares (id, tenant_id, job_id, user_id, note, digest, views, expires_at) "
        "values (%s, %s, %s, %s, '', %s, 0, now() + interval '1 day')",
        new_id(Prefix.SHARE),
        client.me().tenant_id,
        job.id,
        client.me().user_id,
        job.id.encode(),
    )
    client.retention.set(RetentionRules(artifacts_days=10, jobs_days=20))
    apply(bare)
    assert len(client.jobs.artifacts(job.id)) == 1
    query(bare, "update shares set expires_at = now() where job_id = %s", job.id)
    apply(bare)
    assert list(client.jobs.list()) == []
    assert query(bare, "select 1 from shares where job_id = %s", job.id) == []


def test_unused_models_and_datasets_go_and_what_is_at_work_stays(
    client: Client, bare: Running, guest: Guest, tmp_path: Path
) -> None:
    unused = guest.model(client, write(tmp_path, "unused.onnx"))
    young = guest.model(client, write(tmp_path, "young.onnx"))
    ordered = guest.model(client, write(tmp_path, "ordered.onnx"))
    data = guest.dataset(client, write(tmp_path, "data.npz"))
    inspected = upload(client, "/v1/datasets", write(tmp_path, "inspected.npz"), DatasetRead)
    job = client.jobs.submit(facts.spec(ordered.id, data.id))
    for table, row in (("models", unused), ("models", ordered), ("datasets", data), ("datasets", inspected)):
        age(bare, table, row.id, 100)
    client.retention.set(RetentionRules(unused_days=60))
    apply(bare)
    assert {row.id for row in client.models.list()} == {young.id, ordered.id}
    assert {row.id for row in client.datasets.list()} == {data.id, inspected.id}
    client.jobs.cancel(job.id)
    query(bare, "update jobs set finished_at = now() - interval '70 days' where id = %s", job.id)
    guest.claim(inspected.id)  # its file is being read
    client.retention.set(RetentionRules(unused_days=60, jobs_days=60))
    apply(bare)
    assert {row.id for row in client.models.list()} == {young.id}
    assert {row.id for row in client.datasets.list()} == {inspected.id}


def test_ordering_counts_as_use(client: Client, bare: Running, guest: Guest, tmp_path: Path) -> None:
    model = guest.model(client, write(tmp_path, "model.onnx"))
    age(bare, "models", model.id, 100)
    assert client.retention.preview(RetentionRules(unused_days=60)).models == (model.id,)
    job = finished(bare, client, guest, tmp_path, "model", days=90)  # the same file
    query(bare, "update models set last_used_at = null where id <> %s and id = %s", model.id, job.spec.model_id)
    client.retention.set(RetentionRules(jobs_days=60, unused_days=60))
    apply(bare)
    assert model.id in {row.id for row in client.models.list()}  # ordered just now, though its job has gone
    with pytest.raises(NotFound):
        client.jobs.get(job.id)


def test_the_audit_log_is_shortened_by_the_rules_alone(client: Client, bare: Running, tmp_path: Path) -> None:
    upload(client, "/v1/models", write(tmp_path, "a.onnx"), ModelRead)
    tenant_id = client.me().tenant_id
    query(bare, "update audit_entries set at = now() - interval '400 days' where tenant_id = %s", tenant_id)
    upload(client, "/v1/models", write(tmp_path, "b.onnx"), ModelRead)
    rules = RetentionRules(audit_days=365)
    before = len(list(client.audit.list()))
    assert client.retention.preview(rules).audit_lines == 1
    assert len(list(client.audit.list())) == before
    client.retention.set(rules)
    apply(bare)
    assert [line.action for line in client.audit.list()] == ["apply_retention", "set_retention", "upload_model"]


def test_who_may_shorten_it_sees_one_tenant_and_may_do_nothing_else(client: Client, bare: Running) -> None:
    client.retention.set(RetentionRules())
    with psycopg.connect(plain_url(bare.environment["WHETSTONE_DATABASE_URL"]), autocommit=True) as connection:
        for statement in ("delete from jobs", "update audit_entries set action = ''", "select 1 from users"):
            connection.execute("set role whetstone_retention")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
            connection.execute("reset role")
        with connection.transaction():
            connection.execute("set local role whetstone_retention")
            assert connection.execute("delete from audit_entries").rowcount == 0
    assert list(client.audit.list())


def test_more_than_a_batch_goes_too(
    client: Client, bare: Running, guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.retention.service.BATCH", 2)
    jobs = [finished(bare, client, guest, tmp_path, f"job{number}", days=50) for number in range(4)]
    client.retention.set(RetentionRules(jobs_days=10))
    with referred(bare, jobs[0].id):
        apply(bare)
    assert [job.id for job in client.jobs.list()] == [jobs[0].id]
    with pytest.raises(Conflict):
        client.models.delete(jobs[0].spec.model_id)
