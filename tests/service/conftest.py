"""A real service for the tests: Postgres, Valkey, API and control worker as processes of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import service as embedded
from app.embedded.service import Running
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
}


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service without a worker: the tests act as one."""
    with embedded.running(tmp_path_factory.mktemp("bare"), "127.0.0.1", 0, worker=False, **QUICK) as running:
        yield running


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The service with its CPU worker."""
    with embedded.running(tmp_path_factory.mktemp("full"), "127.0.0.1", 0, **QUICK) as running:
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
