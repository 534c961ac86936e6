"""Mail settings that do not fit together are refused when the service starts."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from app.settings import MailSettings, MailTls

SENDER = "Whetstone <whetstone@example.com>"


def test_by_default_letters_are_files() -> None:
    settings = MailSettings()
    assert settings.host is None
    assert settings.folder == Path("var/mail")


@pytest.mark.parametrize(("tls", "port"), [(MailTls.NONE, 25), (MailTls.STARTTLS, 587), (MailTls.TLS, 465)])
def test_the_usual_ports(tls: MailTls, port: int) -> None:
    assert MailSettings(host="mail.example.com", tls=tls, sender=SENDER).at_port == port
    assert MailSettings(host="mail.example.com", tls=tls, sender=SENDER, port=2525).at_port == 2525


def test_a_password_is_read_from_its_file_each_time(tmp_path: Path) -> None:
    path = tmp_path / "password"
    settings = MailSettings(user="me", password_file=path)
    for password in ("first", "second"):
        path.write_text(password + "\n")
        assert settings.secret() == password
    assert MailSettings(user="me", password=SecretStr("third")).secret() == "third"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"user": "me"}, "PASSWORD"),
        ({"password": "x"}, "USER"),
        ({"user": "me", "password": "x", "password_file": "/x"}, "PASSWORD"),
        ({"user": "me", "password": "x", "tls": "none"}, "in the clear"),
        ({"host": "mail.example.com"}, "SENDER"),
        ({"sender": "nobody"}, "SENDER"),
        ({"retry_seconds": ()}, "retry_seconds"),
    ],
)
def test_what_does_not_fit_together(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MailSettings.model_validate(given)
