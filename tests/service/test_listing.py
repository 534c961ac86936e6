"""Lists: what is found, in which order, page by page; and what that costs where there is much."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy.dialects import postgresql

from app.core.database import plain_url
from app.core.ids import Prefix
from app.core.labels import parse
from app.core.listing import Wanted, narrowed
from app.core.tenancy import TenantID
from app.embedded.service import Running
from app.jobs.repository import JobRepository
from app.jobs.tables import JobRow
from tests.service import facts
from tests.service.actors import Guest, new_tenant, query, upload
from whetstone.client import Client
from whetstone.contract.jobs import JobRead, JobState
from whetstone.contract.labels import ResourceChange
from whetstone.contract.listing import Sort
from whetstone.contract.models import ModelRead
from whetstone.contract.search import Search
from whetstone.errors import Invalid

NAMES = ("resnet int8", "Zebra", "resnet-50", "ärger", "resnet int8", "bert_base", "zebra stripes", "a")
LABELS = ({}, {"team": "vision"}, {"team": "text", "stage": "prod"}, {"team": "vision", "stage": "test"}, {"stage": ""})


@pytest.fixture(scope="module")
def crowd(bare: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, list[JobRead]]]:
    """A tenant with forty jobs, of many names, labels, states and plans; and their neighbour's, who has as many."""
    folder = tmp_path_factory.mktemp("crowd")
    with (
        Guest(bare) as guest,
        Client(bare.url, new_tenant(bare)) as client,
        Client(bare.url, new_tenant(bare)) as other,
    ):
        for each in (other, client):
            made = [_job(each, guest, folder, number) for number in range(40)]
        yield client, made


def _job(client: Client, guest: Guest, folder: Path, number: int) -> JobRead:
    path = folder / "model.onnx"
    path.write_bytes(b"model")
    found = list(client.models.list())
    model = found[0] if found else guest.model(client, path)
    changes: dict[str, Any] = {"name": NAMES[number % len(NAMES)], "labels": LABELS[number % len(LABELS)]}
    spec = facts.spec(model.id).model_copy(update=changes)
    if number % 3 == 0:
        spec = spec.model_copy(update={"plan": Search()})
    job = client.jobs.submit(spec)
    if number % 7 == 0:
        client.jobs.cancel(job.id)
    return client.jobs.get(job.id)


KEYS = {
    Sort.NEWEST: (lambda job: job.id, True),
    Sort.OLDEST: (lambda job: job.id, False),
    Sort.NAME: (lambda job: (job.name.encode(), job.id), False),
    Sort.NAME_DOWN: (lambda job: (job.name.encode(), job.id), True),
}
FILTERS: dict[str, Any] = {
    "": lambda job: bool(job.id),
    "label=team": lambda job: "team" in job.labels,
    "label=team=vision": lambda job: job.labels.get("team") == "vision",
    "label=team!=vision": lambda job: job.labels.get("team") != "vision",
    "label=team in (vision, text),stage": lambda job: "team" in job.labels and "stage" in job.labels,
    "label=!stage,team notin (text)": lambda job: "stage" not in job.labels and job.labels.get("team") != "text",
    "label=stage=": lambda job: job.labels.get("stage") == "",
    "state=cancelled": lambda job: job.state is JobState.CANCELLED,
    "kind=search": lambda job: job.spec.plan.kind == "search",
    "q=RES": lambda job: job.name.startswith("resnet"),
    "q=int resnet": lambda job: job.name == "resnet int8",
    "q=Ä": lambda job: job.name == "ärger",
    "q=sNet": lambda job: "#" in job.name,
    "state=queued&kind=recipe&label=team": lambda job: (
        job.state is JobState.QUEUED and job.spec.plan.kind == "recipe" and "team" in job.labels
    ),
}


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("asked", FILTERS)
def test_every_page_of_every_list_is_right(crowd: tuple[Client, list[JobRead]], asked: str, sort: Sort) -> None:
    """Every filter in every order, with pages of every size from one row to all."""
    client, made = crowd
    key, down = KEYS[sort]
    expected = [job.id for job in sorted(filter(FILTERS[asked], made), key=key, reverse=down)]
    filters = dict(part.split("=", 1) for part in asked.split("&")) if asked else {}
    for limit in (1, 3, 7, 40, 100):
        found = [row["id"] for row in _rows(client, filters | {"sort": sort, "limit": str(limit)})]
        assert found == expected, (limit, asked)


def _rows(client: Client, asked: dict[str, str]) -> Iterator[dict[str, Any]]:
    cursor: dict[str, str] = {}
    while True:
        page = client.request("GET", "/v1/jobs", params=asked | cursor).json()
        assert len(page["items"]) <= int(asked["limit"])
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        assert len(page["items"]) == int(asked["limit"])
        cursor = {"cursor": page["next_cursor"]}


def test_ranges_of_time_have_their_first_moment_and_not_their_last(crowd: tuple[Client, list[JobRead]]) -> None:
    client, made = crowd
    moments = sorted({job.created_at for job in made})
    since, until = moments[5], moments[20]
    found = {job.id for job in client.jobs.list(since=since, until=until, sort=Sort.NAME)}
    assert found == {job.id for job in made if since <= job.created_at < until}
    assert list(client.jobs.list(since=datetime(2100, 1, 1, tzinfo=UTC))) == []


def test_a_list_can_be_read_while_it_grows(client: Client, guest: Guest, tmp_path: Path) -> None:
    """What comes in meanwhile is neither told twice nor takes another's place."""
    made = [_job(client, guest, tmp_path, number) for number in range(12)]
    for sort in Sort:
        seen = []
        for number, row in enumerate(_rows(client, {"sort": sort, "limit": "5"})):
            seen.append(row["id"])
            if number % 5 == 0 and number < 20:
                client.jobs.submit(facts.spec(made[0].spec.model_id, name=f"m {number}"))
        assert len(seen) == len(set(seen))
        assert {job.id for job in made} <= set(seen)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"label": "team=="}, None),
        ({"label": "team in vision"}, "invalid_selector"),
        ({"label": ""}, "invalid_selector"),
        ({"label": "a,"}, "invalid_selector"),
        ({"label": "-x=1"}, "invalid_selector"),
        ({"label": ",".join("abcdefghijklmnopqrstuvwxyz")}, "invalid_selector"),
        ({"q": "--"}, "invalid_search"),
        ({"cursor": "am9iXzAx"}, "invalid_cursor"),
        ({"cursor": "W1tbW1tbW1tbW1tb"}, "invalid_cursor"),
        ({"state": "lost"}, "invalid_request"),
        ({"since": "2026-01-01T00:00:00"}, "invalid_request"),  # which time zone?
    ],
)
def test_what_cannot_be_asked_is_refused(client: Client, asked: dict[str, str], code: str | None) -> None:
    if code is None:
        assert client.request("GET", "/v1/jobs", params=asked).json()["items"] == []
        return
    with pytest.raises(Invalid) as refused:
        client.request("GET", "/v1/jobs", params=asked)
    assert refused.value.code == code


def test_a_cursor_is_for_its_own_order(crowd: tuple[Client, list[JobRead]]) -> None:
    client, _ = crowd
    cursor = client.request("GET", "/v1/jobs", params={"sort": "name", "limit": "1"}).json()["next_cursor"]
    with pytest.raises(Invalid) as refused:
        client.request("GET", "/v1/jobs", params={"sort": "-name", "cursor": cursor})
    assert refused.value.code == "invalid_cursor"


@pytest.mark.parametrize("resource", ["models", "datasets", "jobs"])
def test_names_and_labels_change_and_are_found_by(client: Client, guest: Guest, tmp_path: Path, resource: str) -> None:
    path = tmp_path / "first name.onnx"
    path.write_bytes(b"content")
    model = guest.model(client, path)
    data = guest.dataset(client, path)
    job = client.jobs.submit(facts.spec(model.id, name="first name"))
    row_id = {"models": model.id, "datasets": data.id, "jobs": job.id}[resource]
    rows = getattr(client, resource)
    changed = rows.change(row_id, ResourceChange(name="second", labels={"team": "vision", "example.com/tier": "a"}))
    assert (changed.name, changed.labels) == ("second", {"team": "vision", "example.com/tier": "a"})
    assert [row.id for row in rows.list(label="example.com/tier in (a,b),team", q="sec", sort=Sort.NAME)] == [row_id]
    assert list(rows.list(q="first")) == []
    again = rows.change(row_id, ResourceChange(labels={"team": "text"}, remove_labels=frozenset({"example.com/tier"})))
    assert (again.name, again.labels) == ("second", {"team": "text"})
    assert list(rows.list(label="team=vision")) == list(rows.list(label="example.com/tier")) == []
    assert rows.get(row_id) == again
    kind = {"models": "onnx", "datasets": "npz", "jobs": "recipe"}[resource]
    assert [row.id for row in rows.list(kind=kind)] == [row_id]
    assert list(rows.list(kind="search" if resource == "jobs" else "other")) == []
    entry = next(client.audit.list(subject=row_id))
    assert (entry.action, entry.details["labels"]) == (f"change_{resource[:-1]}", {"team": "text"})


def test_labels_are_set_when_something_is_made(client: Client, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"content")
    headers = {"Content-Type": "application/octet-stream"}
    params = {"filename": "m.onnx", "label": ["team=vision", "stage="]}
    answer = client.request("POST", "/v1/models", params=params, headers=headers, content=b"other content")
    row = ModelRead.model_validate_json(answer.content)
    assert row.labels == {"team": "vision", "stage": ""}
    model = guest.model(client, path)
    job = client.jobs.submit(facts.spec(model.id, labels={"team": "vision"}))
    assert job.labels == {"team": "vision"}
    assert job.spec.labels == {}
    assert [found.id for found in client.jobs.list(label="team")] == [job.id]
    client.models.delete(row.id)
    assert list(client.models.list(label="team")) == []


@pytest.mark.parametrize(
    "labels",
    [{"": "x"}, {"a b": "x"}, {"a": "x" * 64}, {"a" * 64: "x"}, {"A.com/x": "y"}, {"-a": "x"}, {"a": "x-"}],
)
def test_what_is_no_label_for_kubernetes_is_none_here(client: Client, labels: dict[str, str]) -> None:
    (key, value) = next(iter(labels.items()))
    answer = client._http.post("/v1/models", params={"filename": "m.onnx", "label": f"{key}={value}"}, content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_labels")
    body = {"model_id": "mdl_01h455vb4pex5vsknk084sn02q", "labels": labels}
    assert client._http.post("/v1/jobs", json=body).json()["code"] == "invalid_request"


def test_there_is_an_end_to_labels(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"content")
    model = upload(client, "/v1/models", path, ModelRead)
    client.models.change(model.id, ResourceChange(labels={f"k{n}": "v" for n in range(64)}))
    with pytest.raises(Invalid) as refused:
        client.models.change(model.id, ResourceChange(labels={"one-more": "v"}))
    assert refused.value.code == "too_many_labels"
    renamed = ResourceChange(labels={"one-more": "v"}, remove_labels=frozenset({"k0"}))
    assert len(client.models.change(model.id, renamed).labels) == 64


def test_a_change_of_what_was_not_read_is_refused(client: Client, guest: Guest, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"content")
    job = client.jobs.submit(facts.spec(guest.model(client, path).id))
    for url in (f"/v1/jobs/{job.id}", f"/v1/models/{job.spec.model_id}"):
        tag = client.request("GET", url).headers["etag"]
        client._http.patch(url, json={"name": "one"}, headers={"If-Match": tag}).raise_for_status()
        late: httpx.Response = client._http.patch(url, json={"name": "two"}, headers={"If-Match": tag})
        assert (late.status_code, late.json()["code"]) == (412, "changed_meanwhile")
        assert client.request("GET", url).json()["name"] == "one"


MANY = 100_000
COPIES = """
    insert into jobs (id, tenant_id, name, labels, model_id, spec, state, events, created_at)
    select 'job_' || lpad(to_hex(n), 26, '0'), tenant_id, 'copy ' || md5(n::text), labels, model_id, spec,
           case when n %% 10000 = 0 then 'failed' else 'succeeded' end, 0, created_at - n * interval '1 second'
    from jobs, generate_series(1, %s) n where id = %s
"""
TERMS = """
    insert into terms (tenant_id, term, subject_id)
    select tenant_id, term, id from jobs, lateral (values
        ('job:label:team'), ('job:label:team=' || case when right(id, 3) = '000' then 'rare' else 'common' end),
        ('job:word:copy'), ('job:word:' || split_part(name, ' ', 2)), ('job:kind:recipe')
    ) told(term) where id like 'job_000%%' and tenant_id = %s
"""
BLOCKS = 2500
"""Of 8 KiB, which a page of twenty may touch; the table of jobs alone has several thousand."""


@pytest.fixture(scope="module")
def large(bare: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tenant with a hundred thousand jobs."""
    path = tmp_path_factory.mktemp("large") / "m.onnx"
    path.write_bytes(b"content")
    with Client(bare.url, new_tenant(bare)) as client, Guest(bare) as guest:
        job = client.jobs.submit(facts.spec(guest.model(client, path).id))
        tenant_id = client.me().tenant_id
    query(bare, COPIES, MANY, job.id)
    query(bare, TERMS, tenant_id)
    query(bare, "vacuum analyze jobs")
    query(bare, "vacuum analyze terms")
    yield tenant_id
    query(bare, "delete from terms where tenant_id = %s and subject_id like 'job_000%%'", tenant_id)
    query(bare, "delete from jobs where tenant_id = %s and id like 'job_000%%'", tenant_id)


ASKED: dict[str, dict[str, Any]] = {
    "all": {},
    "a common label": {"requirements": parse("team=common")},
    "a rare label": {"requirements": parse("team=rare")},
    "without a rare label": {"requirements": parse("team!=rare")},
    "one of two labels": {"requirements": parse("team in (rare, none)")},
    "a label that nobody has": {"requirements": parse("team=none")},
    "a common word": {"words": ("copy",)},
    "a rare word": {"words": ("c4ca4238a0b923820dcc509a6f75849b",)},
    "the beginning of a rare word": {"words": ("c4ca42",)},
    "a rare state": {"state": "failed"},
    "a state that nothing is in": {"state": "running"},
    "a kind": {"kind": "recipe"},
    "another kind": {"kind": "tune"},
    "a day long ago": {"since": datetime(2026, 1, 1, tzinfo=UTC), "until": datetime(2026, 1, 2, tzinfo=UTC)},
}


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("asked", ASKED)
def test_no_list_reads_a_table_from_end_to_end(bare: Running, large: str, asked: str, sort: Sort) -> None:
    after = ("copy 8", "job_" + f"{MANY // 2:x}".rjust(26, "0"))
    for cursor in (None, after):
        plan = _plan(bare, large, Wanted(20, sort, cursor, **ASKED[asked]))
        text = json.dumps(plan)
        assert "Seq Scan" not in text, text
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= BLOCKS, text


def _plan(service: Running, tenant_id: str, wanted: Wanted) -> Any:
    """Of the statement as the service sends it, and under the same row-level security."""
    repository = JobRepository(None, TenantID(tenant_id))  # type: ignore[arg-type] # only its query is needed
    statement = narrowed(repository.query(), JobRow, Prefix.JOB, wanted).limit(wanted.limit + 1)
    told = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    with psycopg.connect(plain_url(service.environment["WHETSTONE_DATABASE_URL"])) as connection:
        connection.execute("select set_config('app.tenant_id', %s, true)", (tenant_id,))
        text = str(told).replace("%", "%%")
        row = connection.execute(f"explain (analyze, buffers, format json) {text}", ()).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0][0]["Plan"]
