"""How a bucket is reached: what the operator is told, and what a worker is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from app.core.signing import Signer
from app.core.storage import StorageUnavailable, UnsupportedStorage
from app.core.storage_choice import open_storage
from app.embedded.service import Running, _parts
from tests.service.actors import settings_of


@pytest.mark.parametrize(
    "changed", [{"WHETSTONE_STORAGE_URL": "s3://no-such-bucket"}, {"WHETSTONE_S3__ENDPOINT": "http://127.0.0.1:9"}]
)
async def test_a_bucket_that_does_not_answer_is_noticed(bucketed: Running, changed: dict[str, str]) -> None:
    settings = settings_of(
        Running(bucketed.url, None, bucketed.owner_file, (), bucketed.environment | changed, bucketed.owner_url)
    )
    storage = open_storage(settings, Signer("x"))
    with pytest.raises(StorageUnavailable):
        await storage.check()
    await open_storage(settings_of(bucketed), Signer("x")).check()


def test_the_operator_is_told_what_a_storage_can_do(bucketed: Running) -> None:
    def told(**changed: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app", "check-storage"]
        environment = bucketed.environment | changed
        return subprocess.run(command, env=environment, text=True, capture_output=True, check=False)

    good = told()
    assert (good.returncode, good.stdout.count("yes")) == (0, 7), good.stdout + good.stderr
    bad = told(WHETSTONE_STORAGE_URL="s3://no-such-bucket")
    assert bad.returncode == 1
    assert "Not Found" in bad.stderr


def test_half_a_key_is_refused(bucketed: Running) -> None:
    settings = settings_of(bucketed)
    half = settings.s3.model_copy(update={"access_key_id": None})
    with pytest.raises(UnsupportedStorage):
        open_storage(settings.model_copy(update={"s3": half}), Signer("x"))


def test_a_worker_is_given_no_key_of_the_bucket(bucketed: Running, tmp_path: Path) -> None:
    environment = bucketed.environment | {"AWS_SECRET_ACCESS_KEY": "x"}
    worker = _parts(environment, tmp_path / "logs", "127.0.0.1", 1, worker=True)[-1]
    assert not [name for name in worker._env if "S3" in name or name.startswith("AWS_")]
