"""A service of one's own, with nothing in it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.embedded import service
from whetstone.client import Client


@contextmanager
def fresh_service() -> Iterator[Client]:
    """Its owner's client; all is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="whetstone-") as name:
        home = Path(name)
        home.chmod(0o755)  # Postgres may run as another user
        with (
            service.running(home / "var", "127.0.0.1", 0) as running,
            Client(running.url, service.owner_key(running)) as client,
        ):
            yield client
