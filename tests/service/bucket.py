"""A real server that speaks S3, for the tests: a process of its own, with an empty bucket."""

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import botocore.session
import httpx
from botocore.config import Config

from app.embedded.processes import Process

BUCKET = "whetstone-files"
START_SECONDS = 30.0


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """The settings of a service that keeps its files there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "HOME": folder}
        log = Path(folder) / "log"
        server = Process("s3", [str(Path(sys.executable).with_name("ministack"))], environment, log)
        server.start()
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _wait(endpoint, log)
            _make_bucket(endpoint)
            yield {
                "WHETSTONE_STORAGE_URL": f"s3://{BUCKET}/house",
                "WHETSTONE_S3__ENDPOINT": endpoint,
                "WHETSTONE_S3__PATH_STYLE": "true",
                "WHETSTONE_S3__ACCESS_KEY_ID": "test",
                "WHETSTONE_S3__SECRET_ACCESS_KEY": "test",
            }
        finally:
            server.stop()


def _wait(endpoint: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            httpx.get(endpoint, timeout=2)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(log.read_text())


def _make_bucket(endpoint: str) -> None:
    session = botocore.session.get_session()
    session.set_credentials("test", "test")
    config = Config(s3={"addressing_style": "path"})
    session.create_client("s3", region_name="us-east-1", endpoint_url=endpoint, config=config).create_bucket(
        Bucket=BUCKET
    )
