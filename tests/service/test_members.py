"""Who may do what: roles, keys, invitations, sessions, and the lock-out."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.embedded.service import Running
from tests.service.actors import PASSWORD, email_of, query
from whetstone.accounts import join, log_in
from whetstone.client import Client
from whetstone.contract.identity import Role, Scope
from whetstone.errors import Conflict, Forbidden, Invalid, NotFound, TooManyRequests, Unauthorized

SECRET = "another password"


def joined(owner: Client, email: str, role: Role) -> Client:
    """A new member, logged in."""
    member = join(owner.url, owner.invitations.create(email, role).token, SECRET)
    assert (member.email, member.role) == (email, role)
    return Client(owner.url, log_in(owner.url, email, SECRET, "test").secret)


def unique(client: Client, name: str) -> str:
    return f"{name}@{client.me().tenant_id.replace('_', '-')}.example"


def test_an_invitation_is_taken_up_once(owner: Client) -> None:
    email = unique(owner, "new")
    made = owner.invitations.create(email.upper(), Role.VIEWER)
    assert made.email == email
    assert [row.id for row in owner.invitations.list()] == [made.id]
    with pytest.raises(Invalid):
        owner.request("POST", "/v1/invitations", json={"email": "no address"})
    with pytest.raises(NotFound):
        join(owner.url, made.token + "x", SECRET)
    assert join(owner.url, made.token, SECRET).role is Role.VIEWER
    assert list(owner.invitations.list()) == []
    with pytest.raises(NotFound):
        join(owner.url, made.token, SECRET)
    again = owner.invitations.create(email)
    with pytest.raises(Conflict) as refused:
        join(owner.url, again.token, SECRET)
    assert refused.value.code == "email_taken"
    owner.invitations.take_back(again.id)
    with pytest.raises(NotFound):
        join(owner.url, again.token, SECRET)


def test_an_invitation_ends_after_seven_days(owner: Client, bare: Running) -> None:
    made = owner.invitations.create(unique(owner, "late"))
    assert (made.expires_at - made.created_at).days == 7
    query(bare, "update invitations set expires_at = now() where id = %s", made.id)
    assert list(owner.invitations.list()) == []
    with pytest.raises(NotFound):
        join(owner.url, made.token, SECRET)


def test_roles(owner: Client) -> None:
    with (
        joined(owner, unique(owner, "viewer"), Role.VIEWER) as viewer,
        joined(owner, unique(owner, "member"), Role.MEMBER) as member,
        joined(owner, unique(owner, "admin"), Role.ADMIN) as admin,
    ):
        assert set(viewer.me().scopes) == {Scope.READ}
        assert len(list(viewer.members.list())) == 4
        for someone in (viewer, member):
            with pytest.raises(Forbidden):
                someone.webhooks.create("https://example.com/")
            with pytest.raises(Forbidden):
                someone.invitations.create(unique(owner, "x"))
        with pytest.raises(Forbidden):
            viewer.request("POST", "/v1/models", params={"filename": "x.onnx"}, content=b"x")
        assert member.request("POST", "/v1/models", params={"filename": "x.onnx"}, content=b"x").status_code == 201
        with pytest.raises(Forbidden):
            admin.members.change(member.me().user_id, Role.OWNER)
        with pytest.raises(Forbidden):
            admin.members.remove(owner.me().user_id)
        assert admin.members.change(viewer.me().user_id, Role.MEMBER).role is Role.MEMBER
        assert Scope.WRITE in viewer.me().scopes  # at once
        owner.members.remove(member.me().user_id)
        with pytest.raises(Unauthorized):
            member.me()


def test_the_last_owner_stays(owner: Client) -> None:
    me = owner.me().user_id
    for attempt in (lambda: owner.members.change(me, Role.ADMIN), lambda: owner.members.remove(me)):
        with pytest.raises(Conflict) as refused:
            attempt()
        assert refused.value.code == "last_owner"
    with joined(owner, unique(owner, "second"), Role.OWNER) as second:
        second.members.change(me, Role.VIEWER)
        assert owner.me().role is Role.VIEWER


def test_a_key_does_no_more_than_it_was_made_for(owner: Client, bare: Running) -> None:
    made = owner.keys.create("ci", frozenset({Scope.READ}), expires_in_days=1)
    assert made.secret.startswith(made.prefix)
    assert [row.id for row in owner.keys.list(made.prefix)] == [made.id]
    assert [row.name for row in owner.keys.list()] == ["ci", "test"]
    with Client(owner.url, made.secret) as program:
        assert program.me().scopes == (Scope.READ,)
        for attempt in (
            lambda: program.request("POST", "/v1/models", params={"filename": "x"}, content=b"x"),
            lambda: program.keys.create("longer"),
            lambda: program.webhooks.create("https://example.com/"),
        ):
            with pytest.raises(Forbidden):
                attempt()
        assert next(iter(owner.keys.list(made.prefix))).last_used_at is not None
        query(bare, "update api_keys set expires_at = now() where id = %s", made.id)
        with pytest.raises(Unauthorized):
            program.me()
    with joined(owner, unique(owner, "viewer"), Role.VIEWER) as viewer:
        with pytest.raises(Invalid) as refused:
            viewer.keys.create("wide", frozenset({Scope.WRITE}))
        assert refused.value.code == "scope_too_wide"
        with pytest.raises(NotFound):
            viewer.keys.revoke(made.id)
        own = viewer.keys.create("mine")
        assert [row.name for row in viewer.keys.list()] == ["mine", "test"]
        assert {row.name for row in owner.keys.list()} >= {"ci", "mine"}
        with pytest.raises(NotFound):
            owner.keys.rotate(own.id)  # it would tell the admin the user's key
        owner.keys.revoke(own.id)
        with Client(owner.url, own.secret) as ended, pytest.raises(Unauthorized):
            ended.me()


def test_a_key_is_changed_over(owner: Client, bare: Running) -> None:
    old = owner.keys.create("deploy", frozenset({Scope.READ, Scope.WRITE}))
    with Client(owner.url, old.secret) as before:
        new = before.keys.rotate(old.id, overlap_hours=1)
        assert (new.name, new.scopes) == (old.name, old.scopes)
        assert before.me().key_id == old.id
        query(bare, "update api_keys set expires_at = now() where id = %s", old.id)
        with pytest.raises(Unauthorized):
            before.me()
    with Client(owner.url, new.secret) as after:
        assert after.me().key_id == new.id
    stored = query(bare, "select api_keys::text from api_keys where id = %s", new.id)[0][0]
    assert new.secret not in stored


@pytest.fixture
def browser(owner: Client) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=owner.url, headers={"Sec-Fetch-Site": "same-origin"}) as browser:
        yield browser


def test_a_browser_signs_in_and_out(owner: Client, browser: httpx.Client, bare: Running) -> None:
    login = {"email": email_of(owner), "password": PASSWORD}
    assert browser.get("/v1/me").status_code == 401
    answer = browser.post("/v1/sessions", json=login)
    assert answer.status_code == 201
    flags = answer.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=lax" in flags
    assert browser.get("/v1/me").json()["key_id"] == answer.json()["id"]
    with httpx.Client(base_url=owner.url) as other:
        second = other.post("/v1/sessions", json=login).json()["id"]
        assert [row["current"] for row in browser.get("/v1/sessions").json()] == [False, True]
        assert browser.delete(f"/v1/sessions/{second}").status_code == 204
        assert other.get("/v1/me").status_code == 401
        other.post("/v1/sessions", json=login)
        evil = {"Sec-Fetch-Site": "cross-site"}
        assert browser.delete("/v1/sessions", headers=evil).json()["code"] == "forbidden"
        assert browser.delete("/v1/sessions").status_code == 204
        assert other.get("/v1/me").status_code == browser.get("/v1/me").status_code == 401
    browser.post("/v1/sessions", json=login)
    query(bare, "update sessions set last_seen_at = now() - interval '13 hours'")
    assert browser.get("/v1/me").status_code == 401


def test_a_new_password_ends_the_other_sessions(owner: Client, browser: httpx.Client) -> None:
    email = email_of(owner)
    browser.post("/v1/sessions", json={"email": email, "password": PASSWORD})
    with httpx.Client(base_url=owner.url) as other:
        other.post("/v1/sessions", json={"email": email, "password": PASSWORD})
        wrong = browser.put("/v1/me/password", json={"old": "wrong", "new": SECRET})
        assert wrong.json()["code"] == "wrong_login"
        assert browser.put("/v1/me/password", json={"old": PASSWORD, "new": "short"}).status_code == 422
        assert browser.put("/v1/me/password", json={"old": PASSWORD, "new": SECRET}).status_code == 204
        assert other.get("/v1/me").status_code == 401
        assert browser.get("/v1/me").status_code == 200
    with pytest.raises(Unauthorized):
        log_in(owner.url, email, PASSWORD, "x")
    assert log_in(owner.url, email, SECRET, "x").secret


@pytest.mark.parametrize("known", [True, False])
def test_after_ten_wrong_passwords_an_address_is_locked(owner: Client, bare: Running, *, known: bool) -> None:
    email = email_of(owner) if known else unique(owner, "nobody")
    for _ in range(10):
        with pytest.raises(Unauthorized) as wrong:
            log_in(owner.url, email, "wrong", "x")
        assert wrong.value.code == "wrong_login"
    for password in ("wrong", PASSWORD):
        with pytest.raises(TooManyRequests) as refused:
            log_in(owner.url, email, password, "x")
        assert refused.value.code == "locked_out"
    query(bare, "update login_failures set last_at = last_at - interval '61 seconds'")
    if known:
        assert log_in(owner.url, email.upper(), PASSWORD, "x").secret
    with pytest.raises(Unauthorized):
        log_in(owner.url, email, "wrong", "x")


def test_the_commands(owner: Client) -> None:
    key = owner._http.headers["authorization"].removeprefix("Bearer ")

    def whet(*words: str) -> Any:
        command = [sys.executable, "-m", "whetstone.cli", *words]
        variables = os.environ | {"WHETSTONE_URL": owner.url, "WHETSTONE_API_KEY": key}
        printed = subprocess.run(command, env=variables, capture_output=True, check=True, text=True).stdout
        return json.loads(printed) if "--json" in words else printed

    made = whet("keys", "create", "ci", "--scope", "read", "--days", "3", "--json")
    assert made["scopes"] == ["read"]
    assert made["id"] in whet("keys", "list")
    invitation = whet("invitations", "create", unique(owner, "friend"), "--role", "viewer", "--json")
    assert "viewer" in whet("join", owner.url, "--token", invitation["token"], "--password", SECRET)
    friend = next(row for row in whet("members", "list", "--json") if row["role"] == "viewer")
    assert whet("members", "change", friend["id"], "member", "--json")["role"] == "member"
