"""The commands that find resources again, order jobs anew, compare and share them."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.embedded.service import Running
from tests.service.actors import Guest
from tests.service.test_checks import done_job
from tests.service.test_provenance import end, until_the_report
from whetstone.cli import app
from whetstone.client import Client
from whetstone.contract.jobs import JobRead

Whet = Callable[..., Result]


@pytest.fixture
def whet(bare: Running, client: Client) -> Whet:
    key = client._http.headers["authorization"].removeprefix("Bearer ")
    environment = {"WHETSTONE_URL": bare.url, "WHETSTONE_API_KEY": key, "COLUMNS": "250"}

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, list(words), env=environment)

    return run


@pytest.fixture
def job(client: Client, guest: Guest, tmp_path: Path) -> JobRead:
    return done_job(client, guest, tmp_path)


def listed(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [row["id"] for row in json.loads(result.stdout)]


@pytest.mark.parametrize("resource", ["models", "jobs"])
def test_labels(whet: Whet, job: JobRead, resource: str) -> None:
    row_id = {"models": job.spec.model_id, "jobs": job.id}[resource]
    done = whet(resource, "label", row_id, "team=vision", "stage=", "--name", "red fox")
    assert "red fox  stage=,team=vision" in done.output
    assert listed(whet(resource, "list", "--label", "team=vision,stage", "-q", "FO", "--json")) == [row_id]
    assert listed(whet(resource, "list", "--sort", "name", "--since", "2020-01-01", "--json")) == [row_id]
    assert listed(whet(resource, "list", "--until", "2020-01-01", "--json")) == []
    assert whet(resource, "label", row_id, "team-", "stage=prod").exit_code == 0
    assert listed(whet(resource, "list", "--label", "team", "--json")) == []
    assert whet(resource, "label", row_id, "team").exit_code == 2
    assert row_id in whet(resource, "list").output


def test_a_job_is_ordered_again(whet: Whet, client: Client, job: JobRead) -> None:
    done = whet("jobs", "clone", job.id, "--target", "openvino/cpu", "--name", "again", "--label", "by=hand")
    clone = client.jobs.get(done.output.strip())
    assert (clone.name, clone.labels, clone.spec.targets) == ("again", {"by": "hand"}, ("openvino/cpu",))
    shown = whet("jobs", "compare", job.id, clone.id)
    assert shown.exit_code == 0
    assert "targets/1" in shown.output
    assert json.loads(whet("jobs", "compare", job.id, clone.id, "--json").stdout)["jobs"][1]["name"] == "again"


def test_templates(whet: Whet, client: Client, job: JobRead, tmp_path: Path) -> None:
    assert whet("templates", "create", "small").exit_code == 2
    assert whet("templates", "create", "small", "--from", job.id, "--description", "for phones").exit_code == 0
    run = whet("templates", "run", "small", job.spec.model_id, "--name", "by template")
    made = client.jobs.get(run.output.strip())
    assert (made.name, made.spec.plan, made.spec.targets) == ("by template", job.spec.plan, job.spec.targets)
    order = tmp_path / "order.json"
    order.write_text('{"targets": ["openvino/cpu"]}')
    assert whet("templates", "change", "small", "--order", str(order), "--name", "smaller").exit_code == 0
    shown = json.loads(whet("templates", "show", "smaller").stdout)
    assert (shown["description"], shown["order"]["targets"]) == ("for phones", ["openvino/cpu"])
    order.write_text('{"goal": 1}')
    assert whet("templates", "create", "wrong", "--order", str(order)).exit_code == 2
    assert len(listed(whet("templates", "list", "--json"))) == 1
    assert whet("templates", "delete", "smaller").exit_code == 0
    assert whet("templates", "delete", "smaller").exit_code == 2


def test_shares(bare: Running, whet: Whet, client: Client, guest: Guest, tmp_path: Path) -> None:
    job, order = until_the_report(client, guest, tmp_path)
    end(client, guest, job, order, tmp_path)
    made = json.loads(whet("shares", "create", job.id, "--days", "2", "--note", "x", "--json").stdout)
    link = f"{bare.url}/v1/shared/{made['url'].rpartition('/')[2]}"
    assert httpx.get(link).status_code == 200
    assert made["id"] in whet("shares", "list", job.id).output
    assert whet("shares", "revoke", made["id"]).exit_code == 0
    assert httpx.get(link).status_code == 404
