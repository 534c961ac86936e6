"""Accounts of programs: keys with a role, and no way to log in."""

import json
import os
import subprocess
import sys
from typing import Any

import httpx
import pytest

from app.embedded.service import Running
from tests.service.actors import email_of, new_tenant, query
from whetstone.accounts import join, log_in
from whetstone.client import Client
from whetstone.contract.identity import Role, Scope
from whetstone.errors import ChangedMeanwhile, Forbidden, Invalid, NotFound, Unauthorized

SECRET = "another password"


def test_a_program_does_what_its_role_may(owner: Client) -> None:
    account = owner.service_accounts.create("CI")
    assert (account.role, account.enabled) == (Role.MEMBER, True)
    key = owner.service_accounts.create_key(account.id, "deploy", expires_in_days=90)
    assert (key.user_id, set(key.scopes)) == (account.id, {Scope.READ, Scope.WRITE})
    with Client(owner.url, key.secret) as program:
        assert (program.me().user_id, program.me().role) == (account.id, Role.MEMBER)
        assert program.request("POST", "/v1/models", params={"filename": "x"}, content=b"x").status_code == 201
        with pytest.raises(Forbidden):
            program.invitations.create("someone@example.com")
        owner.service_accounts.change(account.id, role=Role.VIEWER)
        assert program.me().scopes == (Scope.READ,)
    assert [row.id for row in owner.service_accounts.list()] == [account.id]
    assert owner.service_accounts.get(account.id).role is Role.VIEWER
    assert [row.id for row in owner.members.list()] == [owner.me().user_id]  # a program is no member
    with pytest.raises(NotFound):
        owner.members.get(account.id)
    with pytest.raises(NotFound):
        owner.service_accounts.get(owner.me().user_id)


def test_the_keys_of_a_disabled_account_stop_at_once(owner: Client) -> None:
    account = owner.service_accounts.create("CI")
    keys = [owner.service_accounts.create_key(account.id, str(number)) for number in range(2)]
    programs = [Client(owner.url, key.secret) for key in keys]
    assert [program.me().user_id for program in programs] == [account.id] * 2
    disabled = owner.service_accounts.change(account.id, enabled=False)
    assert not disabled.enabled
    assert owner.service_accounts.change(account.id, enabled=False).disabled_at == disabled.disabled_at
    for program in programs:
        with pytest.raises(Unauthorized):
            program.me()
    assert owner.service_accounts.change(account.id, enabled=True).disabled_at is None
    assert programs[0].me().user_id == account.id
    owner.service_accounts.delete(account.id)
    for program in programs:
        with pytest.raises(Unauthorized):
            program.me()
        program.close()
    assert list(owner.keys.list(user_id=account.id)) == []


def test_its_keys_are_listed_and_changed_over_by_an_admin(owner: Client, bare: Running) -> None:
    account = owner.service_accounts.create("CI", Role.ADMIN)
    old = owner.service_accounts.create_key(account.id, "deploy", frozenset({Scope.READ}))
    assert [row.id for row in owner.keys.list(user_id=account.id)] == [old.id]
    assert old.id in {row.id for row in owner.keys.list()}
    new = owner.keys.rotate(old.id, overlap_hours=1)
    assert (new.user_id, new.scopes) == (account.id, (Scope.READ,))
    with Client(owner.url, old.secret) as before, Client(owner.url, new.secret) as after:
        assert before.me().user_id == after.me().user_id
        query(bare, "update api_keys set expires_at = now() where id = %s", old.id)
        with pytest.raises(Unauthorized):
            before.me()
        again = after.keys.rotate(new.id)  # a program may do so itself
        owner.keys.revoke(new.id)
        with pytest.raises(Unauthorized):
            after.me()
    with Client(owner.url, again.secret) as program:
        assert program.me().user_id == account.id


def test_who_may_make_them(owner: Client) -> None:
    account = owner.service_accounts.create("CI", Role.VIEWER)
    email = f"member@{owner.me().tenant_id.replace('_', '-')}.example"
    join(owner.url, owner.invitations.create(email, Role.MEMBER).token, SECRET)
    with Client(owner.url, log_in(owner.url, email, SECRET, "x").secret) as member:
        assert [row.name for row in member.service_accounts.list()] == ["CI"]
        key = owner.service_accounts.create_key(account.id, "deploy")
        for attempt in (
            lambda: member.service_accounts.create("mine"),
            lambda: member.service_accounts.change(account.id, enabled=False),
            lambda: member.service_accounts.delete(account.id),
            lambda: member.service_accounts.create_key(account.id, "mine"),
        ):
            with pytest.raises(Forbidden):
                attempt()
        for attempt in (lambda: member.keys.rotate(key.id), lambda: member.keys.revoke(key.id)):
            with pytest.raises(NotFound):
                attempt()
    ends = owner.keys.create("for a day", expires_in_days=1)
    with Client(owner.url, ends.secret) as restricted, pytest.raises(Forbidden):
        restricted.service_accounts.create_key(account.id, "longer")  # it would outlive the key that made it
    with pytest.raises(Invalid) as refused:
        owner.service_accounts.create_key(account.id, "wide", frozenset({Scope.WRITE}))
    assert refused.value.code == "scope_too_wide"
    with pytest.raises(Invalid):
        owner.request("POST", "/v1/service-accounts", json={"name": "CI", "role": "owner"})


def test_a_program_has_no_way_to_log_in(owner: Client, bare: Running) -> None:
    account = owner.service_accounts.create("CI")
    with Client(owner.url, owner.service_accounts.create_key(account.id, "x").secret) as program:
        for attempt in (
            lambda: program.account.change_password("any password", SECRET),
            lambda: program.account.set_up_second_factor("any password"),
            lambda: program.account.confirm_second_factor("123456"),
        ):
            with pytest.raises(Forbidden):
                attempt()
    stored = query(bare, "select kind, email, password_hash from users where id = %s", account.id)
    assert stored == [("service", None, None)]


def test_what_is_done_to_them_is_recorded(owner: Client) -> None:
    account = owner.service_accounts.create("CI")
    key = owner.service_accounts.create_key(account.id, "deploy")
    owner.service_accounts.change(account.id, name="Jenkins", enabled=False)
    lines = {line.action: line for line in owner.audit.list()}
    assert lines["create_service_account"].subject == account.id
    assert lines["create_service_account_key"].subject == key.id
    assert lines["create_service_account_key"].details == {"service_account": account.id}
    assert lines["change_service_account"].details == {"name": "Jenkins", "enabled": False}
    assert {line.user_id for line in lines.values()} == {owner.me().user_id}


def test_a_change_of_what_was_not_read_is_refused(owner: Client) -> None:
    account = owner.service_accounts.create("CI")
    path = f"/v1/service-accounts/{account.id}"
    tag = owner.request("GET", path).headers["etag"]
    owner.service_accounts.change(account.id, name="Jenkins")
    with pytest.raises(ChangedMeanwhile):
        owner.request("DELETE", path, headers={"If-Match": tag})


def test_another_tenants_accounts_are_not_there(owner: Client, bare: Running) -> None:
    account = owner.service_accounts.create("CI")
    key = owner.service_accounts.create_key(account.id, "deploy")
    with Client(bare.url, new_tenant(bare)) as stranger:
        for attempt in (
            lambda: stranger.service_accounts.create_key(account.id, "mine"),
            lambda: stranger.keys.rotate(key.id),
        ):
            with pytest.raises(NotFound):
                attempt()
        assert list(stranger.keys.list(user_id=account.id)) == []
    assert httpx.get(f"{owner.url}/v1/me", headers={"Authorization": f"Bearer {key.secret}"}).status_code == 200
    assert email_of(owner)  # and people are as before


def test_the_commands(owner: Client) -> None:
    key = owner._http.headers["authorization"].removeprefix("Bearer ")

    def whet(*words: str, key: str = key) -> Any:
        command = [sys.executable, "-m", "whetstone.cli", *words]
        variables = os.environ | {"WHETSTONE_URL": owner.url, "WHETSTONE_API_KEY": key}
        printed = subprocess.run(command, env=variables, capture_output=True, check=True, text=True).stdout
        return json.loads(printed) if "--json" in words else printed

    account = whet("service-accounts", "create", "CI", "--role", "viewer", "--json")
    made = whet("service-accounts", "create-key", account["id"], "deploy", "--days", "30", "--json")
    assert made["scopes"] == ["read"]
    assert [row["id"] for row in whet("keys", "list", "--user", account["id"], "--json")] == [made["id"]]
    assert "disabled" in whet("service-accounts", "disable", account["id"])
    assert account["id"] in whet("service-accounts", "list")
    assert whet("service-accounts", "enable", account["id"], "--json")["enabled"]
    whet("service-accounts", "delete", account["id"])
    assert whet("service-accounts", "list", "--json") == []
