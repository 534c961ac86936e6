"""schemathesis reads the OpenAPI document and looks for requests that are not answered as it says."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import service as embedded
from app.embedded.service import Running
from tests.service.actors import new_tenant
from tests.service.conftest import QUICK, data_folder

SCHEMATHESIS = Path(__file__).parents[2] / ".venv" / "bin" / "schemathesis"
EXCLUDED = {
    # A value may be of the right form and be refused for its meaning: a cursor, an ETag, a key used before, a model
    # that is not there, or passes in an order that cannot be run.
    "positive_data_acceptance",
}
LEAST_TESTED = 90  # operations
STREAMS = "/events$"  # an event stream ends with its job, so no answer can be awaited


@pytest.fixture(scope="module")
def unlimited() -> Iterator[Running]:
    rates = {"WHETSTONE_RATES__REQUESTS": "1000000"}
    with data_folder() as folder, embedded.running(folder, "127.0.0.1", 0, worker=False, **QUICK, **rates) as running:
        yield running


def test_it_finds_nothing(unlimited: Running, tmp_path: Path) -> None:
    command = [str(SCHEMATHESIS), "run", f"{unlimited.url}/openapi.json", "--checks=all", "--continue-on-failure"]
    command += [f"--exclude-checks={','.join(EXCLUDED)}", f"--exclude-path-regex={STREAMS}", "--max-examples=8"]
    command += ["--phases=examples,fuzzing", "--generation-deterministic", "--no-color", "--warnings=off"]
    command += ["--header", f"Authorization: Bearer {new_tenant(unlimited)}"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested, done.stdout[-3000:]
    assert int(tested[1]) > LEAST_TESTED
