"""A stranger at every door: tries each route of the OpenAPI document, and the database itself, with another's ids.

`make isolation` prints `RESULT tried=… leaks=…` and names each leak. A route that this file does not know how to call
is an error here, so that none is forgotten.
"""

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.core.ids import Prefix, new_id
from app.core.signing import Signer, Use
from app.embedded import service as embedded
from app.embedded.service import Running
from tests.service import facts, second_wall
from tests.service.actors import PASSWORD, Guest, new_tenant, query
from tests.service.conftest import QUICK, data_folder
from tests.service.doors import LINK, OPEN, SHARED, WORKER, WORKER_BODIES, Door, bodies, doors, scopes_for
from whetstone.client import Client
from whetstone.contract.checks import CheckSpec
from whetstone.contract.identity import Scope
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.steps import Finish, Optimized, OutputFile
from whetstone.contract.templates import JobTemplate, TemplateCreate

MARK = "victim7f3a"
_REFUSED, _MISSING = 401, 404
_FORBIDDEN = 403


@dataclass
class Estate:
    """What one tenant has: an id for every name of a path parameter, and everything that must not be seen."""

    tenant_id: str
    ids: dict[str, str]
    tokens: dict[Use, str]

    @property
    def traces(self) -> tuple[str, ...]:
        return (MARK, self.tenant_id, *self.ids.values())


@dataclass
class Tally:
    tried: int = 0
    leaks: list[str] = field(default_factory=list)

    def note(self, where: str, *, safe: bool) -> None:
        self.tried += 1
        if not safe:
            self.leaks.append(where)


def settle(service: Running, client: Client, folder: Path) -> Estate:
    """Give a tenant one of everything."""
    path = folder / f"{MARK}.onnx"
    path.write_bytes(f"{MARK} weights".encode())
    with Guest(service) as guest:
        webhook = client.webhooks.create("https://example.com/" + MARK, description=MARK)
        model = guest.model(client, path)
        data = guest.dataset(client, path)
        job = client.jobs.submit(facts.spec(model.id, data.id, name=MARK))
        token = guest.token(query(service, "select id from steps where subject_id = %s", job.id)[0][0])
        order = guest.control.claim(token)
        stored = guest.control.upload(order.token, path)
        made = OutputFile(
            name=path.name, kind=ArtifactKind.MODEL, media_type="x/y", sha256=stored.sha256, size=stored.size
        )
        guest.control.finish(order.token, Finish(result=Optimized(passes=(facts.pass_report(),)), outputs=(made,)))
    link = order.inputs[0].url.rpartition("/")[2]
    delivery = client.webhooks.test(webhook.id)
    with httpx.Client(base_url=service.url) as browser:
        me = client.members.get(client.me().user_id)
        session = browser.post("/v1/sessions", json={"email": me.email, "password": PASSWORD}).json()
    ids = {
        "model_id": model.id,
        "dataset_id": data.id,
        "job_id": job.id,
        "artifact_id": client.jobs.artifacts(job.id)[0].id,
        "webhook_id": webhook.id,
        "delivery_id": delivery.id,
        "event_id": delivery.event_id,
        "key_id": client.me().key_id,
        "user_id": me.id,
        "invitation_id": client.invitations.create(f"{MARK}@example.com").id,
        "session_id": session["id"],
        "account_id": client.service_accounts.create(MARK).id,
        "upload_id": client.uploads.begin(len(MARK), "0" * 64).id,
        "entry_id": next(client.audit.list(subject=job.id)).id,
        "check_id": new_id(Prefix.CHECK),
        "share_id": new_id(Prefix.SHARE),
        "other_job_id": client.jobs.clone(job.id).id,
        "template_id": client.templates.create(TemplateCreate(name=MARK, order=JobTemplate())).id,
    }
    tenant_id = client.me().tenant_id
    made = CheckSpec(against=job.id, model_id=model.id).model_dump_json()
    columns = "id, tenant_id, spec, state, findings, measured"
    query(
        service, f"insert into checks ({columns}) values (%s, %s, %s, 'queued', '[]', '[]')",  # noqa: S608 - our own
        ids["check_id"], tenant_id, made,
    )  # fmt: skip
    columns = "id, tenant_id, job_id, user_id, note, digest, views, expires_at"
    query(
        service, f"insert into shares ({columns}) values (%s, %s, %s, %s, %s, %s, 0, now() + interval '1 day')",  # noqa: S608 - our own
        ids["share_id"], tenant_id, job.id, me.id, MARK, ids["share_id"].encode(),
    )  # fmt: skip
    return Estate(tenant_id, ids, {Use.STEP: token, Use.ATTEMPT: order.token, Use.FILE: link})


class Attack:
    """Tries everything, as one stranger."""

    def __init__(self, service: Running, estate: Estate) -> None:
        self.service = service
        self.estate = estate
        self.tally = Tally()
        self.http = httpx.Client(base_url=service.url, timeout=30)
        self.key = new_tenant(service)
        with Client(service.url, self.key) as own:
            self.tenant_id = own.me().tenant_id
            self.restricted = {scope: own.keys.create(scope, frozenset({scope})).secret for scope in Scope}
            ended = own.keys.create("ended", expires_in_days=1)
            self._expired = ended.secret
        query(service, "update api_keys set expires_at = now() where id = %s", ended.id)

    def run(self) -> Tally:
        for door in doors(self.service):
            if door.path.startswith(WORKER):
                self._worker(door)
            elif door.path == LINK:
                self._link(door)
            elif door.path.startswith(SHARED):
                self._shared(door)
            elif str(door) not in OPEN:
                self._credentials(door)
                self._scopes(door)
                self._another(door)
        self._database()
        self.http.close()
        return self.tally

    def _send(self, door: Door, url: str, key: str | None, body: dict[str, Any]) -> httpx.Response:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        if door.path in ("/v1/models", "/v1/datasets") and door.method == "POST":
            params, content = {"filename": "x.onnx"} | body, b"" if body else b"bytes"
            return self.http.post(url, params=params, content=content, headers=headers)
        return self.http.request(door.method, url, json=body if door.has_body else None, headers=headers)

    def _credentials(self, door: Door) -> None:
        """Whoever cannot say who they are gets nowhere."""
        tampered = self.key[:-2] + ("AA" if self.key[-2:] != "AA" else "BB")
        url, body = door.url(self.estate.ids), next(bodies(door, self.estate.ids))
        for key in (None, "x", "whet_", tampered, self.key.upper(), *self._ended_keys(), *self.estate.tokens.values()):
            answer = self._send(door, url, key, body)
            self.tally.note(f"{door} with a bad key: {answer.status_code}", safe=answer.status_code == _REFUSED)

    def _scopes(self, door: Door) -> None:
        """A key does what its scopes say, and is told so before anything is looked up."""
        body = next(bodies(door, self.estate.ids))
        for scope, key in self.restricted.items():
            answer = self._send(door, door.url(self.estate.ids), key, body)
            refused = answer.status_code == _FORBIDDEN
            safe = refused != (scope in scopes_for(door)) and not self._shows(answer)
            self.tally.note(f"{door} with the scope {scope}: {answer.status_code}", safe=safe)

    def _ended_keys(self) -> list[str]:
        """Keys that were good once."""
        key = new_tenant(self.service)
        with Client(self.service.url, key) as client:
            query(self.service, "update api_keys set revoked_at = now() where id = %s", client.me().key_id)
            return [key, self._expired]

    def _another(self, door: Door) -> None:
        """With another's ids it is as if they were not there: word for word, and to the byte."""
        nowhere = {name: new_id(Prefix(value.partition("_")[0])) for name, value in self.estate.ids.items()}
        for theirs, none in zip(bodies(door, self.estate.ids), bodies(door, nowhere), strict=True):
            answer = self._send(door, door.url(self.estate.ids), self.key, theirs)
            ghost = self._send(door, door.url(nowhere), self.key, none)
            named = door.url(self.estate.ids) != door.url(nowhere) or theirs != none
            alike = (answer.status_code, _shape(answer)) == (ghost.status_code, _shape(ghost))
            safe = (answer.status_code == _MISSING and alike) if named else not self._shows(answer)
            self.tally.note(f"{door} with another's ids: {answer.status_code} {answer.text[:80]}", safe=safe)

    def _shows(self, answer: httpx.Response) -> bool:
        return any(trace in answer.text for trace in self.estate.traces)

    def _worker(self, door: Door) -> None:
        """Tokens are for one use and one step until they expire; an API key is none."""
        old = Signer(self.service.environment["WHETSTONE_SECRET_KEY"])
        claims = {"step_id": new_id(Prefix.STEP), "tenant_id": self.estate.tenant_id, "attempt": 1}
        wrong_use = Use.ATTEMPT if door.path.endswith("/claim") else Use.STEP
        tokens = [self.key, self.estate.tokens[wrong_use], self.estate.tokens[Use.FILE]]
        tokens += [token[:-2] + "xx" for token in self.estate.tokens.values()]
        tokens += [old.sign(use, -1, **claims) for use in (Use.STEP, Use.ATTEMPT)]
        tokens += [Signer("another secret").sign(use, 60, **claims) for use in (Use.STEP, Use.ATTEMPT)]
        headers = {"Whetstone-Worker": "wrk_01h455vb4pex5vsknk084sn02q"}
        for token in tokens:
            answer = self.http.request(
                door.method,
                door.path,
                json=WORKER_BODIES[door.path.rpartition("/")[2]],
                headers=headers | {"Authorization": f"Bearer {token}"},
            )
            self.tally.note(f"{door} with a bad token: {answer.status_code}", safe=answer.status_code == _REFUSED)

    def _link(self, door: Door) -> None:
        """A link is for one object, one way, until it expires."""
        signer, good = Signer(self.service.environment["WHETSTONE_SECRET_KEY"]), self.estate.tokens[Use.FILE]
        key = query(self.service, "select key from files where tenant_id = %s", self.estate.tenant_id)[0][0]
        old = signer.sign(Use.FILE, -1, method="GET", key=key, filename="x", media_type="x/y")
        tokens = [good[:-2] + "xx", old, self.estate.tokens[Use.STEP], self.key]
        if door.method == "PUT":
            tokens.append(good)  # made for reading
        for token in tokens:
            answer = self.http.request(door.method, door.url({"token": token}), content=b"x" if door.has_body else None)
            safe = answer.status_code == _REFUSED and not self._shows(answer)
            self.tally.note(f"{door} with a bad link: {answer.status_code}", safe=safe)

    def _shared(self, door: Door) -> None:
        """A link to a report is its secret; nothing else that a tenant has opens it."""
        ended = query(self.service, "select id from shares where tenant_id = %s", self.estate.tenant_id)[0][0]
        for secret in (ended, self.key, self.estate.ids["job_id"], *self.estate.tokens.values(), "share_", "x"):
            answer = self.http.get(door.url({"link": secret}))
            safe = answer.status_code == _MISSING and not self._shows(answer)
            self.tally.note(f"{door} with a bad link: {answer.status_code}", safe=safe)

    def _database(self) -> None:
        second_wall.attack(self.service, self.estate.tenant_id, self.tenant_id, self.tally.note)


def _shape(answer: httpx.Response) -> str:
    """What may differ between two answers: the request's own id."""
    request_id = answer.headers.get("x-request-id", "-")
    return answer.text.replace(request_id, "")


def attack(service: Running) -> Tally:
    with tempfile.TemporaryDirectory() as folder, Client(service.url, new_tenant(service)) as client:
        estate = settle(service, client, Path(folder))
        before = query(service, "select count(*) from jobs where tenant_id = %s", estate.tenant_id)
        tally = Attack(service, estate).run()
        tally.note("a stranger changed something", safe=_unharmed(client, estate))
        assert query(service, "select count(*) from jobs where tenant_id = %s", estate.tenant_id) == before
    return tally


def _unharmed(client: Client, estate: Estate) -> bool:
    webhook, job = client.webhooks.get(estate.ids["webhook_id"]), client.jobs.get(estate.ids["job_id"])
    rows = (client.models.get(estate.ids["model_id"]), client.datasets.get(estate.ids["dataset_id"]))
    return webhook.description == MARK and not job.state.is_final and all(row.name == f"{MARK}.onnx" for row in rows)


def main() -> None:
    unlimited = {"WHETSTONE_RATES__REQUESTS": "1000000"}
    with (
        data_folder() as folder,
        embedded.running(folder, "127.0.0.1", 0, worker=False, **QUICK, **unlimited) as service,
    ):
        tally = attack(service)
    result = f"RESULT tried={tally.tried} leaks={len(tally.leaks)}"
    sys.stdout.write("\n".join((*tally.leaks, result)) + "\n")
    sys.exit(bool(tally.leaks))


if __name__ == "__main__":
    main()
