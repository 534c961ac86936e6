"""Signing in with an identity provider: a real one, and one that tries to get in."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey

from app.core.ids import Prefix, new_id
from app.embedded import service as embedded
from app.embedded.service import Running
from tests.service import issuer
from tests.service.actors import email_of, enrolled, new_tenant, query
from tests.service.conftest import QUICK, data_folder
from tests.service.issuer import CLIENT, Forger
from whetstone.client import Client
from whetstone.contract.identity import Role

START, CALLBACK = "/v1/sessions/oidc", "/v1/sessions/oidc/callback"
HOUSE = new_id(Prefix.TENANT)
"""The tenant that people of house.example may join by themselves."""


def settings(issuer_url: str, **others: str) -> dict[str, str]:
    given = {"ISSUER": issuer_url, "CLIENT_ID": CLIENT, "CLIENT_SECRET": issuer.SECRET} | others
    named = {f"WHETSTONE_OIDC__{name}": value for name, value in given.items()}
    return QUICK | named


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose provider is a real one, and links accounts by email address."""
    back = f"http://127.0.0.1:{(port := issuer.free_port())}{CALLBACK}"
    with (
        issuer.nanoidp(tmp_path_factory.mktemp("nanoidp"), back) as url,
        data_folder() as folder,
        embedded.running(folder, "127.0.0.1", port, worker=False, **settings(url, LINK_BY_EMAIL="true")) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def forger() -> Iterator[Forger]:
    with issuer.forging() as forger:
        yield forger


@pytest.fixture(scope="module")
def wary(forger: Forger) -> Iterator[Running]:
    """A service whose provider may say anything, and which links no account by itself."""
    domains = json.dumps({"house.example": {"tenant": HOUSE, "role": "viewer"}})
    with (
        data_folder() as folder,
        embedded.running(folder, "127.0.0.1", 0, worker=False, **settings(forger.url, DOMAINS=domains)) as running,
    ):
        new_tenant(running, HOUSE)
        yield running


@pytest.fixture(autouse=True)
def _honest(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "forger" in request.fixturenames:
        forger: Forger = request.getfixturevalue("forger")
        forger.claims, forger.info, forger.signing_key, forger.broken = {}, {}, None, False


@pytest.fixture
def browser(wary: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=wary.url) as browser:
        yield browser


def sent_to(browser: httpx.Client, **wanted: str) -> str:
    """Begin; where the browser is sent."""
    answer = browser.post(START, json=wanted)
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    return str(answer.json()["url"])


def by_provider(service: Running, browser: httpx.Client, name: str, **wanted: str) -> httpx.Response:
    """The whole way with the real provider, up to our answer."""
    back = issuer.consent(sent_to(browser, **wanted), name)
    assert back.startswith(f"{service.url}{CALLBACK}?")
    return browser.get(back)


def forged(browser: httpx.Client, forger: Forger, invitation: str | None = None, **claims: Any) -> httpx.Response:
    """Sign in, with a token that has these claims."""
    forger.claims = {"email": f"{claims.get('sub')}@nowhere.example", "email_verified": True} | claims
    state = forger.begin(sent_to(browser, **({} if invitation is None else {"invitation": invitation})))
    return browser.get(CALLBACK, params={"state": state, "code": "x"})


def code_of(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['code']}"


def unique(service: Running, name: str, role: Role = Role.MEMBER) -> tuple[str, str]:
    """An address, and the token of its invitation."""
    with Client(service.url, new_tenant(service)) as owner:
        email = f"{name}@{owner.me().tenant_id.replace('_', '-')}.example"
        return email, owner.invitations.create(email, role).token


def test_an_invited_person_signs_in_with_a_real_provider(real: Running) -> None:
    with Client(real.url, new_tenant(real)) as owner, httpx.Client(base_url=real.url) as browser:
        token = owner.invitations.create(issuer.USERS["ada"], Role.VIEWER).token
        assert code_of(by_provider(real, browser, "ada")) == "403 no_account"
        assert browser.get("/v1/me").status_code == 401
        answer = by_provider(real, browser, "ada", invitation=token, next="/docs")
        assert (answer.status_code, answer.headers["location"]) == (303, "/docs")
        me = browser.get("/v1/me").json()
        assert (me["tenant_id"], me["role"]) == (owner.me().tenant_id, "viewer")
        assert list(owner.invitations.list()) == []
        line = next(iter(owner.audit.list(action="provider_sign_in")))
        assert (line.user_id, line.subject) == (me["user_id"], me["key_id"])
        query(real, "update users set email = 'moved@example.com' where id = %s", me["user_id"])
        assert by_provider(real, browser, "ada").status_code == 303  # by the link, whatever the address is now
        assert browser.get("/v1/me").json()["user_id"] == me["user_id"]
        answer = browser.post("/v1/sessions", json={"email": "moved@example.com", "password": ""})
        assert answer.status_code == 422
        answer = browser.post("/v1/sessions", json={"email": "moved@example.com", "password": "anything"})
        assert code_of(answer) == "401 wrong_login"  # there is no password


def test_an_account_is_linked_by_its_address_where_the_operator_says(real: Running) -> None:
    with Client(real.url, new_tenant(real)) as owner, httpx.Client(base_url=real.url) as browser:
        me = owner.me().user_id
        query(real, "update users set email = %s where id = %s", issuer.USERS["bob"], me)
        assert by_provider(real, browser, "bob").status_code == 303
        assert browser.get("/v1/me").json()["user_id"] == me


def test_the_second_factor_is_asked_for_here_too(real: Running) -> None:
    with Client(real.url, new_tenant(real)) as owner, httpx.Client(base_url=real.url) as browser:
        query(real, "update users set email = %s where id = %s", issuer.USERS["eve"], owner.me().user_id)
        app, _ = enrolled(real, owner)
        answer = by_provider(real, browser, "eve")
        page, _, ticket = answer.headers["location"].partition("#")
        assert (answer.status_code, page) == (303, "/sign-in-code")
        assert browser.get("/v1/me").status_code == 401
        route = re.search(r'data-to="([^"]+)" data-secret="ticket"', browser.get(page).text)
        assert route
        assert browser.post(route[1], json={"ticket": ticket, "code": app.code()}).status_code == 201
        assert browser.get("/v1/me").json()["user_id"] == owner.me().user_id


def test_a_code_is_good_for_the_browser_that_began_once(real: Running) -> None:
    _, token = unique(real, "x")
    with httpx.Client(base_url=real.url) as browser, httpx.Client(base_url=real.url) as thief:
        back = issuer.consent(sent_to(browser, invitation=token), "ada")
        sent_to(thief)
        assert code_of(thief.get(back)) == "401 sign_in_refused"
        with httpx.Client(base_url=real.url) as nobody:
            assert code_of(nobody.get(back)) == "401 sign_in_refused"
        browser.get(back)
        assert code_of(browser.get(back)) == "401 sign_in_refused"


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": [CLIENT, "another"], "azp": None},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"iss": "https://another.example"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"at_hash": "another"},
    ],
)
def test_a_token_that_is_not_for_this_sign_in(browser: httpx.Client, forger: Forger, claims: dict[str, Any]) -> None:
    answer = forged(browser, forger, **({"sub": "mallory"} | claims))
    assert code_of(answer) == "401 sign_in_refused"
    assert browser.get("/v1/me").status_code == 401


def test_a_token_of_another_key(browser: httpx.Client, forger: Forger) -> None:
    for kid in ("one", "two"):
        forger.signing_key = RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})
        assert code_of(forged(browser, forger, sub="mallory")) == "401 sign_in_refused"


def test_a_provider_may_change_its_key(browser: httpx.Client, forger: Forger, wary: Running) -> None:
    email, token = unique(wary, "rotated")
    forger.key = RSAKey.generate_key(2048, {"kid": "new", "use": "sig"})
    assert forged(browser, forger, token, sub="rotated", email=email).status_code == 303


def test_a_refusal_of_the_provider(browser: httpx.Client, forger: Forger) -> None:
    forger.broken = True
    assert code_of(forged(browser, forger, sub="mallory")) == "401 sign_in_refused"
    state = forger.begin(sent_to(browser))
    answer = browser.get(CALLBACK, params={"state": state, "error": "access_denied"})
    assert code_of(answer) == "401 sign_in_refused"
    for state in ("", "another"):
        sent_to(browser)
        assert code_of(browser.get(CALLBACK, params={"state": state, "code": "x"})) == "401 sign_in_refused"


@pytest.mark.parametrize("verified", [False, None, "true"])
def test_an_address_counts_only_where_the_provider_vouches_for_it(
    browser: httpx.Client, forger: Forger, wary: Running, verified: object
) -> None:
    email, token = unique(wary, "unverified")
    answer = forged(browser, forger, token, sub=email, email=email, email_verified=verified)
    assert code_of(answer) == "403 email_unverified"


def test_an_address_may_stand_in_the_user_info(browser: httpx.Client, forger: Forger, wary: Running) -> None:
    email, token = unique(wary, "info")
    forger.info = {"sub": "another", "email": email, "email_verified": True}
    assert code_of(forged(browser, forger, token, sub=email, email=None)) == "403 email_unverified"
    forger.info = {"sub": email, "email": email, "email_verified": True}
    assert forged(browser, forger, token, sub=email, email=None).status_code == 303


def test_an_account_is_not_taken_over_by_its_address(browser: httpx.Client, forger: Forger, wary: Running) -> None:
    with Client(wary.url, new_tenant(wary)) as owner:
        email = email_of(owner)
        assert code_of(forged(browser, forger, sub="mallory", email=email)) == "403 not_linked"
        token = owner.invitations.create(email).token
        assert code_of(forged(browser, forger, token, sub="mallory", email=email)) == "409 email_taken"
        other = owner.invitations.create("someone@else.example").token
        assert code_of(forged(browser, forger, other, sub="mallory", email="me@else.example")) == "403 no_account"
        assert code_of(forged(browser, forger, "no token", sub="mallory")) == "404 invitation_not_found"
    assert query(wary, "select 1 from external_identities where subject = 'mallory'") == []


def test_people_of_a_domain_join_by_themselves(browser: httpx.Client, forger: Forger) -> None:
    for address in ("a@sub.house.example", "a@house.example.evil.example", "house.example@evil.example"):
        assert code_of(forged(browser, forger, sub="mallory", email=address)) == "403 no_account"
    assert forged(browser, forger, sub="guest", email="Guest@House.example").status_code == 303
    me = browser.get("/v1/me").json()
    assert (me["tenant_id"], me["role"]) == (HOUSE, "viewer")


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "/x\ny"])
def test_it_leads_back_to_this_service_alone(browser: httpx.Client, path: str) -> None:
    assert code_of(browser.post(START, json={"next": path})) == "422 invalid_request"


def test_without_a_provider(bare: Running) -> None:
    assert code_of(httpx.post(f"{bare.url}{START}", json={})) == "404 no_provider"
    assert code_of(httpx.get(f"{bare.url}{CALLBACK}")) == "404 no_provider"


def test_a_provider_that_is_away(forger: Forger) -> None:
    port = issuer.free_port()
    with (
        data_folder() as folder,
        embedded.running(folder, "127.0.0.1", 0, worker=False, **settings(f"http://127.0.0.1:{port}")) as running,
    ):
        assert code_of(httpx.post(f"{running.url}{START}", json={})) == "502 provider_unavailable"
    with (
        data_folder() as folder,
        embedded.running(folder, "127.0.0.1", 0, worker=False, **settings(f"{forger.url}/")) as running,
    ):
        answer = httpx.post(f"{running.url}{START}", json={})
        assert code_of(answer) == "502 provider_unavailable"
        assert "calls itself" in answer.json()["detail"]
