"""A mail server whose answers the test decides: real SMTP, with STARTTLS and a login."""

import gc
import ipaddress
import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.service.actors import until

USER, PASSWORD = "whetstone", "a mail password"
HOST = "127.0.0.1"
TAKEN = "250 OK"


@dataclass
class Mailbox:
    """`script` answers the next letters; what comes after it is taken."""

    folder: Path
    port: int
    got: list[EmailMessage] = field(default_factory=list)
    tried: list[EmailMessage] = field(default_factory=list)
    script: list[str] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        assert [str(message["To"])] == envelope.rcpt_tos
        self.tried.append(message)
        answer = self.script.pop(0) if self.script else TAKEN
        if answer == TAKEN:
            self.got.append(message)
        return answer

    def to(self, address: str) -> list[EmailMessage]:
        return [message for message in self.got if message["To"] == address]

    @property
    def certificate(self) -> Path:
        return self.folder / "mail.pem"

    @contextmanager
    def open(self) -> Iterator[None]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.certificate)
        server = _Server(
            self,
            HOST,
            self.port,
            tls_context=tls,
            require_starttls=True,
            auth_required=True,
            authenticator=_authenticate,
        )
        server.start()
        try:
            yield
        finally:
            until(server.is_alone, 60)
            server.stop()
            del server
            with warnings.catch_warnings():  # what lay below a STARTTLS connection may not be closed by then
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()


class _Server(Controller):
    """Knows who is connected: stopped under a client that is about to leave, it would never close that connection."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._calls: list[SMTP] = []

    def factory(self) -> SMTP:
        call: SMTP = super().factory()
        self._calls.append(call)
        return call

    def is_alone(self) -> bool:
        return all(call.transport is None for call in self._calls)


def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: object) -> AuthResult:
    assert isinstance(given, LoginPassword)
    return AuthResult(success=(given.login, given.password) == (USER.encode(), PASSWORD.encode()))


def new_mailbox(folder: Path) -> Mailbox:
    """Not open yet; its certificate is in its folder."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        box = Mailbox(folder, probe.getsockname()[1])
    box.certificate.write_bytes(_certificate())
    return box


def _certificate() -> bytes:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
