"""A second factor at log-in, and sessions that change their secret when more, or less, is at stake."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.core.signing import Signer, Use
from app.embedded.service import Running
from app.identity.passwords import code_of
from tests.service.actors import PASSWORD, Authenticator, email_of, enrolled, new_tenant, query
from whetstone.accounts import join, log_in
from whetstone.client import Client
from whetstone.contract.identity import Role
from whetstone.errors import Conflict, Forbidden, NotFound, SecondFactorNeeded, TooManyRequests, Unauthorized

SECRET = "another password"


@pytest.fixture
def browser(owner: Client) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=owner.url, headers={"Sec-Fetch-Site": "same-origin"}) as browser:
        yield browser


def sign_in(browser: httpx.Client, email: str) -> httpx.Response:
    return browser.post("/v1/sessions", json={"email": email, "password": PASSWORD})


def test_a_code_is_asked_for_at_log_in(owner: Client, bare: Running) -> None:
    email = email_of(owner)
    app, codes = enrolled(bare, owner)
    with pytest.raises(SecondFactorNeeded) as needed:
        log_in(owner.url, email, PASSWORD, "laptop")
    assert needed.value.problem.ticket
    made = log_in(owner.url, email, PASSWORD, "laptop", app.code)
    assert made.name == "laptop"
    with pytest.raises(Unauthorized) as refused:
        log_in(owner.url, email, "wrong", "laptop", app.code)
    assert refused.value.code == "wrong_login"
    state = owner.account.second_factor()
    assert (state.enabled, state.recovery_codes_left) == (True, len(codes))
    stored = query(bare, "select secret from second_factors where user_id = %s", owner.me().user_id)[0][0]
    assert app.key not in bytes(stored)
    assert {line.action for line in owner.audit.list()} >= {"set_up_second_factor", "confirm_second_factor"}


def test_set_up_is_off_until_it_is_confirmed(owner: Client, bare: Running) -> None:
    with pytest.raises(Unauthorized) as refused:
        owner.account.set_up_second_factor("wrong password")
    assert refused.value.code == "wrong_login"
    with pytest.raises(NotFound):
        owner.account.confirm_second_factor("123456")
    first = owner.account.set_up_second_factor(PASSWORD)
    second = owner.account.set_up_second_factor(PASSWORD)
    assert second.uri.startswith("otpauth://totp/Whetstone:")
    assert second.secret in second.uri
    assert log_in(owner.url, email_of(owner), PASSWORD, "x").secret
    user_id = owner.me().user_id
    with pytest.raises(Unauthorized) as wrong:
        owner.account.confirm_second_factor(Authenticator(bare, user_id, first.secret).code())
    assert wrong.value.code == "wrong_code"
    owner.account.confirm_second_factor(Authenticator(bare, user_id, second.secret).code())
    with pytest.raises(Conflict) as on:
        owner.account.set_up_second_factor(PASSWORD)
    assert on.value.code == "second_factor_on"


def test_a_code_is_used_once(owner: Client, bare: Running) -> None:
    email = email_of(owner)
    app, _ = enrolled(bare, owner)
    code = app.code()

    def attempt(_: int) -> str:
        try:
            return log_in(owner.url, email, PASSWORD, "x", lambda: code).name
        except Unauthorized as error:
            return error.code

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(attempt, range(3))) == ["wrong_code"] * 2 + ["x"]
    assert attempt(0) == "wrong_code"


def test_a_recovery_code_stands_in_once(owner: Client, bare: Running) -> None:
    email = email_of(owner)
    app, codes = enrolled(bare, owner)
    assert len(set(codes)) == 10
    assert log_in(owner.url, email, PASSWORD, "x", lambda: codes[0]).secret
    assert log_in(owner.url, email, PASSWORD, "x", lambda: codes[1].replace("-", "").upper()).secret
    with pytest.raises(Unauthorized):
        log_in(owner.url, email, PASSWORD, "x", lambda: codes[0])
    assert owner.account.second_factor().recovery_codes_left == 8
    renewed = owner.account.renew_recovery_codes(app.code())
    with pytest.raises(Unauthorized):
        log_in(owner.url, email, PASSWORD, "x", lambda: codes[2])
    assert log_in(owner.url, email, PASSWORD, "x", lambda: renewed[0]).secret
    with Client(owner.url, new_tenant(bare)) as other:
        enrolled(bare, other)
        with pytest.raises(Unauthorized):
            log_in(owner.url, email_of(other), PASSWORD, "x", lambda: renewed[1])


def test_wrong_codes_lock_the_account(owner: Client, bare: Running) -> None:
    email = email_of(owner)
    app, _ = enrolled(bare, owner)
    for _ in range(10):  # each begins with the right password, which is no way around
        with pytest.raises(Unauthorized) as wrong:
            log_in(owner.url, email, PASSWORD, "x", lambda: "000000")
        assert wrong.value.code == "wrong_code"
    with pytest.raises(TooManyRequests) as refused:
        log_in(owner.url, email, PASSWORD, "x", app.code)
    assert refused.value.code == "locked_out"
    account = code_of(email)
    query(bare, "update login_failures set last_at = last_at - interval '61 seconds' where account = %s", account)
    assert log_in(owner.url, email, PASSWORD, "x", app.code).secret
    assert query(bare, "select count(*) from login_failures where account = %s", account) == [(0,)]


def test_a_ticket_is_for_one_account_and_a_short_while(owner: Client, bare: Running) -> None:
    email = email_of(owner)
    app, _ = enrolled(bare, owner)
    signer = Signer(bare.environment["WHETSTONE_SECRET_KEY"])
    with pytest.raises(SecondFactorNeeded) as needed:
        log_in(owner.url, email, PASSWORD, "x")
    good = needed.value.problem.ticket
    assert good
    claims = {"user_id": owner.me().user_id, "stamp": signer.read(Use.SECOND_FACTOR, good)["stamp"]}
    owner.account.change_password(PASSWORD, SECRET)
    tokens = (
        good,  # of the password before
        good[:-2] + "xx",
        signer.sign(Use.SECOND_FACTOR, -1, **claims),
        signer.sign(Use.STEP, 60, **claims),
        Signer("another secret").sign(Use.SECOND_FACTOR, 60, **claims),
    )
    for token in tokens:
        answer = httpx.post(f"{owner.url}/v1/login/second-factor", json={"ticket": token, "code": app.code()})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


def test_disabling_needs_password_and_code(owner: Client, bare: Running) -> None:
    app, codes = enrolled(bare, owner)
    for password, code, refusal in (("wrong", app.code(), "wrong_login"), (PASSWORD, "000000", "wrong_code")):
        with pytest.raises(Unauthorized) as refused:
            owner.account.disable_second_factor(password, code)
        assert refused.value.code == refusal
    owner.account.disable_second_factor(PASSWORD, codes[3])
    assert not owner.account.second_factor().enabled
    assert log_in(owner.url, email_of(owner), PASSWORD, "x").secret
    assert query(bare, "select 1 from recovery_codes where user_id = %s", owner.me().user_id) == []


def test_an_admin_helps_a_member_who_lost_the_app(owner: Client, bare: Running) -> None:
    email = f"lost@{owner.me().tenant_id.replace('_', '-')}.example"
    join(owner.url, owner.invitations.create(email, Role.ADMIN).token, SECRET)
    with Client(owner.url, log_in(owner.url, email, SECRET, "x").secret) as member:
        member_id = member.me().user_id
        with pytest.raises(NotFound):
            owner.members.remove_second_factor(member_id)
        enrolled(bare, member, SECRET)
        enrolled(bare, owner)
        with pytest.raises(Forbidden):  # an owner's is an owner's business
            member.members.remove_second_factor(owner.me().user_id)
        owner.members.remove_second_factor(member_id)
        assert log_in(owner.url, email, SECRET, "x").secret


def test_a_browser_signs_in_with_a_code(owner: Client, browser: httpx.Client, bare: Running) -> None:
    app, _ = enrolled(bare, owner)
    first = sign_in(browser, email_of(owner))
    assert (first.status_code, first.json()["code"]) == (401, "second_factor_needed")
    assert "set-cookie" not in first.headers
    second = {"ticket": first.json()["ticket"], "code": app.code()}
    answer = browser.post("/v1/sessions/second-factor", json=second)
    assert answer.status_code == 201
    assert browser.get("/v1/me").json()["key_id"] == answer.json()["id"]


def test_signing_in_ends_the_session_that_the_browser_had(owner: Client, browser: httpx.Client, bare: Running) -> None:
    with Client(bare.url, new_tenant(bare)) as other:
        sign_in(browser, email_of(other))
    before = dict(browser.cookies)
    sign_in(browser, email_of(owner))
    assert dict(browser.cookies) != before
    assert httpx.get(f"{owner.url}/v1/me", cookies=before).status_code == 401
    assert browser.get("/v1/me").json()["tenant_id"] == owner.me().tenant_id


def test_a_session_changes_its_secret_with_what_protects_it(
    owner: Client, browser: httpx.Client, bare: Running
) -> None:
    email = email_of(owner)
    sign_in(browser, email)
    with httpx.Client(base_url=owner.url) as other:
        sign_in(other, email)
        before = dict(browser.cookies)
        secret = browser.put("/v1/me/second-factor", json={"password": PASSWORD}).json()["secret"]
        app = Authenticator(bare, owner.me().user_id, secret)
        assert browser.post("/v1/me/second-factor/confirm", json={"code": app.code()}).status_code == 200
        assert browser.get("/v1/me").status_code == 200
        assert other.get("/v1/me").status_code == 401
        assert httpx.get(f"{owner.url}/v1/me", cookies=before).status_code == 401
    before = dict(browser.cookies)
    assert browser.put("/v1/me/password", json={"old": PASSWORD, "new": SECRET}).status_code == 204
    assert browser.get("/v1/me").status_code == 200
    assert httpx.get(f"{owner.url}/v1/me", cookies=before).status_code == 401


def test_another_role_ends_the_members_sessions(owner: Client, browser: httpx.Client) -> None:
    email = f"raised@{owner.me().tenant_id.replace('_', '-')}.example"
    member = join(owner.url, owner.invitations.create(email, Role.VIEWER).token, PASSWORD)
    sign_in(browser, email)
    assert browser.get("/v1/me").json()["role"] == "viewer"
    owner.members.change(member.id, Role.ADMIN)
    assert browser.get("/v1/me").status_code == 401


def test_the_commands(owner: Client, bare: Running) -> None:
    key = owner._http.headers["authorization"].removeprefix("Bearer ")

    def whet(*words: str, said: str | None = None) -> Any:
        command = [sys.executable, "-m", "whetstone.cli", *words]
        variables = os.environ | {"WHETSTONE_URL": owner.url, "WHETSTONE_API_KEY": key}
        done = subprocess.run(command, env=variables, capture_output=True, check=True, text=True, input=said)
        return json.loads(done.stdout) if "--json" in words else done.stdout

    assert not whet("account", "second-factor", "show", "--json")["enabled"]
    app, codes = enrolled(bare, owner)
    assert "10 recovery codes left" in whet("account", "second-factor", "show")
    renewed = whet("account", "second-factor", "recovery-codes", "--code", app.code()).splitlines()[1:]
    assert len(renewed) == 10
    assert not set(renewed) & set(codes)
    whet("account", "password", "--old", PASSWORD, "--new", SECRET)
    whet("account", "second-factor", "disable", "--password", SECRET, "--code", renewed[0])
    assert whet("account", "second-factor", "show") == "off\n"
