"""Letters: sent after the commit, through a real mail server or into a folder; and forgotten passwords."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import httpx
import pytest

from app.embedded import service as embedded
from app.embedded.service import Running
from tests.service import mailbox
from tests.service.actors import PASSWORD, email_of, new_tenant, query, until
from tests.service.conftest import QUICK, data_folder
from tests.service.mailbox import Mailbox
from whetstone.accounts import ask_for_reset, join, log_in, reset_password
from whetstone.client import Client
from whetstone.contract.identity import Role
from whetstone.errors import NotFound, TooManyRequests, Unauthorized

SECRET = "another password"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Mailbox:
    return mailbox.new_mailbox(tmp_path_factory.mktemp("mailbox"))


@pytest.fixture(scope="module")
def posting(box: Mailbox) -> Iterator[Running]:
    """A service that sends its letters through the mailbox's server, which the tests open."""
    (box.folder / "password").write_text(f"{mailbox.PASSWORD}\n")
    settings = {
        "WHETSTONE_MAIL__HOST": mailbox.HOST,
        "WHETSTONE_MAIL__PORT": str(box.port),
        "WHETSTONE_MAIL__USER": mailbox.USER,
        "WHETSTONE_MAIL__PASSWORD_FILE": str(box.folder / "password"),
        "WHETSTONE_MAIL__SENDER": "Whetstone <whetstone@example.com>",
        "WHETSTONE_MAIL__RETRY_SECONDS": "[0.5]",
        "SSL_CERT_FILE": str(box.certificate),
    }
    with (
        data_folder() as folder,
        embedded.running(folder, "127.0.0.1", 0, worker=False, **QUICK, **settings) as running,
    ):
        yield running


@pytest.fixture
def owner(posting: Running) -> Iterator[Client]:
    with Client(posting.url, new_tenant(posting)) as client:
        yield client


@pytest.fixture
def opened(box: Mailbox) -> Iterator[Mailbox]:
    with box.open():
        yield box


def unique(client: Client, name: str) -> str:
    return f"{name}@{client.me().tenant_id.replace('_', '-')}.example"


def text_of(letter: EmailMessage) -> str:
    return str(letter.get_content())


def token_in(letter: EmailMessage, path: str) -> str:
    """What the letter's link carries; it must be the token that is written out too."""
    found = re.search(rf"http://[^/\s]+{path}#(\S+)", text_of(letter))
    assert found
    assert found[1] in text_of(letter).splitlines()
    return found[1]


def letter_to(box: Mailbox, address: str, number: int = 1) -> EmailMessage:
    until(lambda: len(box.to(address)) >= number, 60)
    return box.to(address)[number - 1]


def waiting(service: Running, address: str) -> int:
    return int(query(service, "select count(*) from emails where recipient = %s", address)[0][0])


def test_an_invitation_is_sent_through_a_mail_server(owner: Client, posting: Running, opened: Mailbox) -> None:
    email = unique(owner, "invited")
    owner.invitations.create(email, Role.VIEWER)
    letter = letter_to(opened, email)
    assert letter["From"] == "Whetstone <whetstone@example.com>"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert "as a viewer" in text_of(letter)
    assert f"{posting.url}/join#" in text_of(letter)
    until(lambda: waiting(posting, email) == 0)
    assert join(owner.url, token_in(letter, "/join"), SECRET).email == email


def test_a_letter_waits_for_a_server_that_is_away(owner: Client, posting: Running, box: Mailbox) -> None:
    email = unique(owner, "patient")
    made = owner.invitations.create(email)
    until(lambda: query(posting, "select 1 from emails where recipient = %s and attempts > 1", email))
    stored = bytes(query(posting, "select content from emails where recipient = %s", email)[0][0])
    assert made.token.encode() not in stored
    with box.open():
        assert token_in(letter_to(box, email), "/join") == made.token


def test_a_letter_that_is_put_off_is_sent_again(owner: Client, opened: Mailbox) -> None:
    email = unique(owner, "later")
    opened.script[:] = ["451 try again later", "421 closing"]
    owner.invitations.create(email)
    letter_to(opened, email)
    tried = [message for message in opened.tried if message["To"] == email]
    assert len(tried) == 3
    assert len({message["Message-ID"] for message in tried}) == 1


def test_a_letter_that_is_refused_is_given_up(owner: Client, posting: Running, opened: Mailbox) -> None:
    email = unique(owner, "refused")
    opened.script[:] = ["550 no such mailbox"]
    owner.invitations.create(email)
    until(lambda: [message for message in opened.tried if message["To"] == email])
    until(lambda: waiting(posting, email) == 0)
    assert opened.to(email) == []
    log = Path(posting.environment["WHETSTONE_STORAGE_URL"].removeprefix("file://")).parent / "logs" / "control.log"
    given_up = [json.loads(line) for line in log.read_text().splitlines() if "given up" in line]
    assert given_up[-1]["tenant_id"] == owner.me().tenant_id
    assert "550" in given_up[-1]["reason"]


def test_without_a_server_letters_are_files(bare: Running, client: Client) -> None:
    folder = Path(bare.environment["WHETSTONE_MAIL__FOLDER"])
    email = unique(client, "filed")
    made = client.invitations.create(email)

    def filed() -> list[Path]:
        return [path for path in folder.glob("*.eml") if email.encode() in path.read_bytes()]

    path = until(filed)[0]
    assert path.stat().st_mode & 0o777 == 0o600
    letter = message_from_bytes(path.read_bytes(), policy=default)
    assert isinstance(letter, EmailMessage)
    assert token_in(letter, "/join") == made.token


def test_a_forgotten_password_is_replaced_once(owner: Client, posting: Running, opened: Mailbox) -> None:
    email = email_of(owner)
    with httpx.Client(base_url=owner.url) as browser:
        browser.post("/v1/sessions", json={"email": email, "password": PASSWORD})
        ask_for_reset(owner.url, email.upper())
        token = token_in(letter_to(opened, email), "/reset-password")
        stored = query(posting, "select password_resets::text from password_resets")
        assert not any(token in row for (row,) in stored)
        for _ in range(10):
            with pytest.raises(Unauthorized):
                log_in(owner.url, email, "wrong", "x")
        with pytest.raises(TooManyRequests):
            log_in(owner.url, email, PASSWORD, "x")
        with pytest.raises(NotFound) as refused:
            reset_password(owner.url, token[:-1] + "!", SECRET)
        assert refused.value.code == "reset_not_found"
        assert browser.get("/v1/me").status_code == 200
        reset_password(owner.url, token, SECRET)
        assert browser.get("/v1/me").status_code == 401
    with pytest.raises(NotFound):
        reset_password(owner.url, token, PASSWORD)
    with pytest.raises(Unauthorized):
        log_in(owner.url, email, PASSWORD, "x")
    assert log_in(owner.url, email, SECRET, "x").secret  # the lock is off, too
    assert "was changed" in letter_to(opened, email, 2)["Subject"]
    line = next(iter(owner.audit.list(action="reset_password")))
    assert (line.user_id, line.key_id, line.subject) == (owner.me().user_id, None, owner.me().user_id)


def test_a_reset_may_end_every_key(owner: Client, opened: Mailbox) -> None:
    email = email_of(owner)
    ask_for_reset(owner.url, email)
    reset_password(owner.url, token_in(letter_to(opened, email), "/reset-password"), SECRET, end_keys=True)
    with pytest.raises(Unauthorized):
        owner.me()


def test_a_reset_ends_after_an_hour(owner: Client, posting: Running, opened: Mailbox) -> None:
    email = email_of(owner)
    ask_for_reset(owner.url, email)
    token = token_in(letter_to(opened, email), "/reset-password")
    age = "update password_resets set expires_at = expires_at - interval '%s minutes' where user_id = %%s"
    query(posting, age % 59, owner.me().user_id)
    assert query(posting, "select expires_at > now() from password_resets where user_id = %s", owner.me().user_id)[0][0]
    query(posting, age % 1, owner.me().user_id)
    with pytest.raises(NotFound):
        reset_password(owner.url, token, SECRET)


def test_a_request_does_not_tell_who_has_an_account(owner: Client, posting: Running, opened: Mailbox) -> None:
    nobody, someone = unique(owner, "nobody"), email_of(owner)
    answers = [httpx.post(f"{owner.url}/v1/password-resets", json={"email": each}) for each in (nobody, someone)]
    shown = [(answer.status_code, answer.content, sorted(answer.headers)) for answer in answers]
    assert shown[0] == shown[1]
    assert shown[0][0] == 202
    letter_to(opened, someone)
    until(lambda: query(posting, "select count(*) from reset_requests")[0][0] == 0)
    assert waiting(posting, nobody) == 0
    assert opened.to(nobody) == []


def test_nobody_is_flooded_with_letters(owner: Client, posting: Running, opened: Mailbox) -> None:
    email = email_of(owner)
    for _ in range(6):
        ask_for_reset(owner.url, email)
    until(lambda: query(posting, "select count(*) from reset_requests")[0][0] == 0)
    until(lambda: waiting(posting, email) == 0)
    assert len(opened.to(email)) == 3


def test_a_new_password_is_told_by_mail(owner: Client, opened: Mailbox) -> None:
    owner.request("PUT", "/v1/me/password", json={"old": PASSWORD, "new": SECRET})
    assert "was changed" in letter_to(opened, email_of(owner))["Subject"]


@pytest.mark.parametrize("page", ["/join", "/reset-password"])
def test_the_pages_that_letters_lead_to(bare: Running, page: str) -> None:
    with httpx.Client(base_url=bare.url) as browser:
        answer = browser.get(page)
        assert answer.headers["content-type"].startswith("text/html")
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        named = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
        assert len(named) == 2
        assert {browser.get(path).status_code for path in named} == {200}
        route = re.search(r'data-to="([^"]+)"', answer.text)
        assert route
        assert browser.post(route[1], json={"token": "x", "password": SECRET}).status_code == 404


def test_the_commands(owner: Client, opened: Mailbox) -> None:
    email = email_of(owner)

    def whet(*words: str) -> str:
        command = [sys.executable, "-m", "whetstone.cli", "account", *words]
        return subprocess.run(command, env=os.environ, capture_output=True, check=True, text=True).stdout

    assert "reset-password" in whet("forgot-password", owner.url, "--email", email)
    token = token_in(letter_to(opened, email), "/reset-password")
    whet("reset-password", owner.url, "--token", token, "--password", SECRET)
    assert log_in(owner.url, email, SECRET, "x").secret
