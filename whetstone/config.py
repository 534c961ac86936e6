"""Where `whet login` keeps the address and the key: a file that only its owner can read."""

import os
from pathlib import Path

import typer
from pydantic import ValidationError

from whetstone.client import Client
from whetstone.contract.types import Contract
from whetstone.transport import DEFAULT_URL, ENV_KEY, ENV_URL


class Saved(Contract):
    url: str
    api_key: str


def path() -> Path:
    return Path(typer.get_app_dir("whetstone")) / "login.json"


def save(url: str, api_key: str) -> Path:
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(Saved(url=url, api_key=api_key).model_dump_json())
    return file


def load() -> Saved | None:
    try:
        return Saved.model_validate_json(path().read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def address() -> str:
    """Of the service: from the environment, else from the last login."""
    saved = load()
    return os.environ.get(ENV_URL) or (saved.url if saved else DEFAULT_URL)


def connect() -> Client:
    """A client from the environment, else from the last login. Raises NotLoggedIn."""
    saved = load()
    return Client(address(), os.environ.get(ENV_KEY) or (saved.api_key if saved else None))
