"""One attempt to send a letter: through an SMTP server, or into a folder of .eml files where none is set."""

import os
import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from app.mail.service import Letter
from app.mail.tables import EmailRow
from app.settings import MailSettings, MailTls

_WIRE = SMTP.clone(max_line_length=250)  # a link stays in one piece, also where it is read as a file
_REFUSED_FOR_GOOD = range(500, 600)


class Undeliverable(Exception):
    """The letter will never be taken: another try is of no use."""


class NotSent(Exception):
    """The letter was not taken this time."""


def compose(settings: MailSettings, row: EmailRow, letter: Letter) -> EmailMessage:
    """The message as it goes over the wire. Each attempt has the same Message-ID. Raises Undeliverable."""
    message = EmailMessage(_WIRE)
    try:
        message["To"] = Address(addr_spec=row.recipient)
    except ValueError as error:
        raise Undeliverable(f"{row.recipient!r} is no address: {error}") from error
    message["From"] = settings.sender
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(row.created_at)
    message["Message-ID"] = f"<{row.id}@{parseaddr(settings.sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(letter.text)
    return message


def send(settings: MailSettings, message: EmailMessage, recipient: str) -> None:
    """Blocks for as long as the server takes. Raises Undeliverable, NotSent."""
    try:
        if settings.host is None:
            _write(settings, message)
        else:
            _hand_over(settings, settings.host, message, recipient)
    except smtplib.SMTPRecipientsRefused as error:
        code, said = error.recipients[recipient]
        raise (Undeliverable if code in _REFUSED_FOR_GOOD else NotSent)(f"{code} {said!r}") from error
    except smtplib.SMTPDataError as error:
        final = error.smtp_code in _REFUSED_FOR_GOOD
        raise (Undeliverable if final else NotSent)(f"{error.smtp_code} {error.smtp_error!r}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(f"{type(error).__name__}: {error}") from error


def _hand_over(settings: MailSettings, host: str, message: EmailMessage, recipient: str) -> None:
    tls = ssl.create_default_context()
    if settings.tls is MailTls.TLS:
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, settings.at_port, timeout=settings.timeout_seconds, context=tls)
    else:
        server = smtplib.SMTP(host, settings.at_port, timeout=settings.timeout_seconds)
    with server:
        if settings.tls is MailTls.STARTTLS:
            server.starttls(context=tls)
        if settings.user is not None:
            server.login(settings.user, settings.secret())
        server.send_message(message, to_addrs=[recipient])


def _write(settings: MailSettings, message: EmailMessage) -> None:
    """Readable by the service's own user alone: letters have secrets in them."""
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = settings.folder / str(message["Message-ID"]).strip("<>").partition("@")[0]
    part = name.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(bytes(message))
    part.replace(name.with_suffix(".eml"))
