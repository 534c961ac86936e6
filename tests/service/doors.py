"""The routes of the OpenAPI document: who may open them, and what to send."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from app.embedded.service import Running
from tests.service import facts
from whetstone.contract.identity import Scope
from whetstone.contract.learning import Finetune

OPEN = {
    "GET /healthz",
    "GET /readyz",
    "GET /v1/signing-keys",
    "GET /v1/deletion-receipts/{receipt_id}",
    "POST /v1/login",
    "POST /v1/login/second-factor",
    "POST /v1/sessions",
    "POST /v1/sessions/second-factor",
    "POST /v1/sessions/oidc",
    "GET /v1/sessions/oidc/callback",
    "POST /v1/invitations/accept",
    "POST /v1/password-resets",
    "POST /v1/password-resets/confirm",
}
_ANY_KEY = {
    "GET /v1/me",
    "GET /v1/me/second-factor",
    "GET /v1/sessions",
    "POST /v1/keys/{key_id}/rotate",
    "DELETE /v1/keys/{key_id}",
}
_NO_RESTRICTED_KEY = {
    "POST /v1/keys",
    "PUT /v1/me/password",
    "POST /v1/service-accounts/{account_id}/keys",
    "PUT /v1/me/second-factor",
    "POST /v1/me/second-factor/confirm",
    "POST /v1/me/second-factor/recovery-codes",
    "POST /v1/me/second-factor/disable",
    "DELETE /v1/sessions",
    "DELETE /v1/sessions/{session_id}",
    "POST /v1/tenant/closing",
    "DELETE /v1/tenant/closing",
}
_WRITERS_READ = {"GET /v1/uploads/{upload_id}/parts"}  # it hands out links to write by
_ESTIMATE = "POST /v1/jobs/estimate"  # reads only, whatever its method
_ADMINS = (
    "/v1/usage/budget",
    "/v1/webhooks",
    "/v1/deliveries",
    "/v1/members",
    "/v1/invitations",
    "/v1/service-accounts",
)
_ONLY_ADMINS_READ = ("/v1/invitations", "/v1/audit", "/v1/retention", "/v1/tenant/export")
WORKER = "/v1/worker/"
LINK = "/v1/files/{token}"
SHARED = "/v1/shared/"
_QUERIES = {"/v1/jobs/compare": "?job={job_id}&job={other_job_id}"}


@dataclass(frozen=True)
class Door:
    """One operation of the OpenAPI document."""

    method: str
    path: str
    has_body: bool

    def url(self, ids: dict[str, str]) -> str:
        return (self.path + _QUERIES.get(self.path, "")).format(**ids)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


_BODIES: dict[str, dict[str, Any]] = {
    "POST /v1/uploads": {"size": 5, "sha256": "1" * 64},
    "PATCH /v1/models/{model_id}": {"name": "taken"},
    "PATCH /v1/datasets/{dataset_id}": {"name": "taken"},
    "PATCH /v1/jobs/{job_id}": {"name": "taken"},
    "POST /v1/jobs/{job_id}/clone": {},
    "POST /v1/jobs/{job_id}/shares": {},
    "POST /v1/templates": {"name": "mine", "order": {}},
    "PATCH /v1/templates/{template_id}": {"name": "taken"},
    "POST /v1/webhooks": {"url": "https://example.com/"},
    "PATCH /v1/webhooks/{webhook_id}": {"description": "taken"},
    "POST /v1/webhooks/{webhook_id}/rotate-secret": {"overlap_hours": 0},
    "POST /v1/keys": {"name": "mine"},
    "POST /v1/service-accounts": {"name": "mine"},
    "PATCH /v1/service-accounts/{account_id}": {"enabled": False},
    "POST /v1/service-accounts/{account_id}/keys": {"name": "mine"},
    "POST /v1/keys/{key_id}/rotate": {"overlap_hours": 1},
    "PATCH /v1/members/{user_id}": {"role": "owner"},
    "POST /v1/invitations": {"email": "someone@example.com"},
    "PUT /v1/usage/budget": {"measure": "minutes", "monthly": 10},
    "PUT /v1/retention": {"jobs_days": 30},
    "POST /v1/retention/preview": {"jobs_days": 1},
    "POST /v1/tenant/closing": {"name": "test"},
    "PUT /v1/me/password": {"old": "wrong password", "new": "another password"},
    "PUT /v1/me/second-factor": {"password": "wrong password"},
    "POST /v1/me/second-factor/confirm": {"code": "123456"},
    "POST /v1/me/second-factor/recovery-codes": {"code": "123456"},
    "POST /v1/me/second-factor/disable": {"password": "wrong password", "code": "123456"},
}
_OUTPUT = {"name": "x", "kind": "model", "media_type": "x/y", "sha256": "0" * 64, "size": 1}
WORKER_BODIES: dict[str, Any] = {
    "claim": None,
    "heartbeat": {},
    "uploads": {"sha256": "0" * 64, "size": 1},
    "complete": {"upload": "x"},
    "checkpoint": {"passes": [], "output": _OUTPUT},
    "learning-state": {"output": _OUTPUT},
    "findings": {"tried": [], "trying": None, "spent": 0},
    "finish": {"result": {"kind": "report"}},
    "fail": {"failure": {"code": "internal_error", "message": "x"}},
    "enrolment": {
        "worker_id": "wrk_01h455vb4pex5vsknk084sn02q",
        "name": "x",
        "hardware": "cpu",
        "targets": [],
        "version": "x",
        "cpu": "x",
        "cores": 1,
        "memory": 1,
    },
}


def doors(service: Running) -> list[Door]:
    document = httpx.get(f"{service.url}/openapi.json", timeout=60).json()
    return [
        Door(method.upper(), path, "requestBody" in operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def scopes_for(door: Door) -> set[Scope]:
    """Which scopes, each alone, open this door."""
    if str(door) in _ANY_KEY:
        return set(Scope)
    if str(door) in _NO_RESTRICTED_KEY:
        return set()
    if str(door) in _WRITERS_READ:
        return {Scope.WRITE}
    if str(door) == _ESTIMATE or (door.method == "GET" and not door.path.startswith(_ONLY_ADMINS_READ)):
        return {Scope.READ}
    return {Scope.ADMIN if door.path.startswith((*_ADMINS, *_ONLY_ADMINS_READ)) else Scope.WRITE}


def bodies(door: Door, ids: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Every way to name another's ids in the body of a request."""
    if str(door) in ("POST /v1/jobs", _ESTIMATE):
        order = facts.spec(ids["model_id"]).model_dump(mode="json")
        yield order
        yield order | {"dataset_id": ids["dataset_id"]}
        for role in ("teacher", "student"):
            plan = {"kind": "recipe", "passes": [Finetune().model_dump(mode="json") | {role: ids["model_id"]}]}
            yield order | {"plan": plan}
    elif str(door) in ("POST /v1/models", "POST /v1/datasets"):
        yield {}
        yield {"upload_id": ids["upload_id"]}
    elif str(door) == "POST /v1/templates/{template_id}/jobs":
        yield {"model_id": ids["model_id"]}
    elif str(door) == "POST /v1/checks":
        yield {"against": ids["job_id"], "model_id": ids["model_id"]}
        yield {"against": ids["job_id"], "job_id": ids["job_id"]}
    elif door.has_body and str(door) not in _BODIES:
        raise AssertionError(f"{door} takes a body: say in _BODIES what to send")
    else:
        yield _BODIES.get(str(door), {})
