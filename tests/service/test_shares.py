"""Links to reports: what they show, to whom, how long, and what they do not open."""

from pathlib import Path

import httpx
import pytest

from app.embedded.service import Running
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query
from tests.service.doors import OPEN, doors
from tests.service.test_provenance import end, until_the_report
from whetstone.client import Client
from whetstone.contract.jobs import JobRead
from whetstone.contract.reports import JobReport
from whetstone.contract.shares import ShareCreated
from whetstone.errors import Conflict, NotFound

PRIVATE = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex, nofollow",
    "x-content-type-options": "nosniff",
}


@pytest.fixture
def job(client: Client, guest: Guest, tmp_path: Path) -> JobRead:
    job, order = until_the_report(client, guest, tmp_path)
    end(client, guest, job, order, tmp_path)
    return job


@pytest.fixture
def share(client: Client, job: JobRead) -> ShareCreated:
    return client.shares.create(job.id, note="for the customer")


def local(service: Running, share: ShareCreated, rest: str = "") -> str:
    """The tests' service listens on another port than its public address says."""
    return f"{service.url}/v1/shared/{share.url.rpartition('/')[2]}{rest}"


def test_anyone_with_the_link_sees_the_report(
    bare: Running, client: Client, job: JobRead, share: ShareCreated, tmp_path: Path
) -> None:
    page = httpx.get(local(bare, share))
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.content == (tmp_path / "results" / "report.html").read_bytes()
    data = httpx.get(local(bare, share, "/report"))
    assert JobReport.model_validate_json(data.content) == client.jobs.report(job.id)
    for answer in (page, data, httpx.get(local(bare, share) + "x")):
        assert {name: answer.headers[name] for name in PRIVATE} == PRIVATE
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["ratelimit-policy"].startswith('"links"')
        assert "set-cookie" not in answer.headers
    (listed,) = client.shares.list(job.id)
    assert (listed.views, listed.note) == (2, "for the customer")
    assert listed.last_viewed_at is not None


def test_its_secret_is_kept_as_a_hash_and_told_once(bare: Running, client: Client, share: ShareCreated) -> None:
    secret = share.url.rpartition("/")[2]
    assert len(secret) > 40
    rows = query(bare, "select * from shares where id = %s", share.id)
    assert secret not in str(rows)
    assert "url" not in client.request("GET", f"/v1/jobs/{share.job_id}/shares").json()["items"][0]


def test_every_link_made_revoked_and_followed_is_in_the_audit_log(
    bare: Running, client: Client, share: ShareCreated
) -> None:
    httpx.get(local(bare, share), headers={"User-Agent": "a customer"})
    client.shares.revoke(share.id)
    entries = list(client.audit.list(subject=share.id))
    assert [entry.action for entry in entries] == ["revoke_share", "read_shared_page"]
    assert (entries[1].details, entries[1].agent, entries[1].key_id) == ({"job_id": share.job_id}, "a customer", None)
    made = next(client.audit.list(action="create_share"))
    assert made.subject == share.job_id


@pytest.mark.parametrize("how", ["revoked", "expired", "tampered", "the id", "empty"])
def test_a_link_that_has_ended_leads_nowhere(bare: Running, client: Client, share: ShareCreated, how: str) -> None:
    url = local(bare, share)
    if how == "revoked":
        client.shares.revoke(share.id)
        client.shares.revoke(share.id)
    elif how == "expired":
        query(bare, "update shares set expires_at = now() where id = %s", share.id)
    else:
        end = {"tampered": url.rpartition("/")[2][:-2] + "xx", "the id": share.id, "empty": "share_"}[how]
        url = f"{bare.url}/v1/shared/{end}"
    for path in ("", "/report"):
        answer = httpx.get(url + path)
        assert (answer.status_code, answer.json()["code"]) == (404, "link_not_found")
        assert share.job_id not in answer.text
    assert query(bare, "select views from shares where id = %s", share.id) == [(0,)]


def test_a_link_opens_no_other_door(bare: Running, job: JobRead, share: ShareCreated) -> None:
    """Neither as a key for any route, nor for anything else under its own address."""
    secret = share.url.rpartition("/")[2]
    ids = {"job_id": job.id, "other_job_id": job.id, "model_id": job.spec.model_id, "share_id": share.id}
    with httpx.Client(base_url=bare.url, headers={"Authorization": f"Bearer {secret}"}, timeout=30) as holder:
        tried = 0
        for door in doors(bare):
            names = [part[1:-1] for part in door.path.split("/") if part.startswith("{")]
            if door.method != "GET" or not set(names) <= ids.keys() or str(door) in OPEN:
                continue
            tried += 1
            assert holder.get(door.url(ids)).status_code == 401, door
        assert tried > 20
    for rest in ("/artifacts", "/report.md", "/../jobs", f"/{job.id}", "/events", "/manifests"):
        assert httpx.get(local(bare, share, rest)).status_code in {401, 404}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert httpx.request(method, local(bare, share)).status_code == 405


def test_only_who_may_write_makes_and_ends_links(bare: Running, client: Client, job: JobRead) -> None:
    share = client.shares.create(job.id)
    with Client(bare.url, new_tenant(bare)) as stranger:
        for refused in (
            lambda: stranger.shares.create(job.id),
            lambda: list(stranger.shares.list(job.id)),
            lambda: stranger.shares.revoke(share.id),
        ):
            with pytest.raises(NotFound):
                refused()
    assert httpx.get(local(bare, share)).status_code == 200


def test_without_a_report_there_is_nothing_to_share(client: Client, job: JobRead) -> None:
    fresh = client.jobs.submit(facts.spec(job.spec.model_id))
    with pytest.raises(Conflict) as refused:
        client.shares.create(fresh.id)
    assert refused.value.code == "report_not_ready"
