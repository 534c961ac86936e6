"""A real service for the tests: Postgres, Valkey, API and control worker as processes of their own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.embedded import service as embedded
from app.embedded.service import Running
from tests.service import bucket as s3
from tests.service.actors import Guest, new_tenant
from whetstone.client import Client

LEASE_SECONDS = 3
UPLOAD_LIMIT = 20_000_000
QUICK = {
    "WHETSTONE_LEASE__SECONDS": str(LEASE_SECONDS),
    "WHETSTONE_LEASE__SWEEP_EVERY": "0.3",
    "WHETSTONE_LEASE__RESEND_AFTER": "2",
    "WHETSTONE_LIMITS__UPLOAD_BYTES": str(UPLOAD_LIMIT),
    "WHETSTONE_LIMITS__INSPECT_SECONDS": "20",
    "WHETSTONE_RATES__LOGINS": "10000",  # all tests come from one address; the lock-out of an account is another thing
}


@contextmanager
def data_folder() -> Iterator[Path]:
    """Not under pytest's folders: it closes those to other users, and Postgres is another user when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="whetstone-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def bare() -> Iterator[Running]:
    """The service without a worker: the tests act as one."""
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, worker=False, **QUICK) as running:
        yield running


@pytest.fixture(scope="session")
def full() -> Iterator[Running]:
    """The service with its CPU worker."""
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, **QUICK) as running:
        yield running


@pytest.fixture(scope="session")
def bucket() -> Iterator[dict[str, str]]:
    """The settings of a service whose files lie in a bucket."""
    with s3.running() as settings:
        yield settings


@pytest.fixture(scope="session")
def bucketed(bucket: dict[str, str]) -> Iterator[Running]:
    """The service without a worker, its files in a bucket."""
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, worker=False, **QUICK, **bucket) as running:
        yield running


@pytest.fixture
def client(bare: Running) -> Iterator[Client]:
    """A client of a tenant made for this test alone."""
    with Client(bare.url, new_tenant(bare)) as client:
        yield client


@pytest.fixture
def full_client(full: Running) -> Iterator[Client]:
    with Client(full.url, new_tenant(full)) as client:
        yield client


@pytest.fixture
def guest(bare: Running) -> Iterator[Guest]:
    """A worker whose every move the test decides."""
    with Guest(bare) as guest:
        yield guest


@pytest.fixture
def stored_files(bare: Running) -> Path:
    return Path(bare.environment["WHETSTONE_STORAGE_URL"].removeprefix("file://"))


@pytest.fixture
def owner(client: Client) -> Client:
    """The same, where it matters that the tenant is its own."""
    return client
