"""What each side may load, seen in a real process and not only in the source."""

import subprocess
import sys

import pytest

ML = {"torch", "onnx", "onnxruntime", "openvino", "numpy", "scipy", "matplotlib"}
SERVICE = {"fastapi", "sqlalchemy", "celery", "redis", "psycopg"}


def loaded_by(*modules: str) -> set[str]:
    code = f"import sys, {', '.join(modules)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    return set(done.stdout.split())


def test_the_control_plane_loads_no_ml_library() -> None:
    loaded = loaded_by("app.main", "app.control", "app.__main__", "app.tables")
    assert not loaded & ML
    assert "workers" not in loaded


def test_the_workers_own_process_loads_no_ml_library_and_no_database() -> None:
    loaded = loaded_by("workers.tasks", "workers.main", "workers.settings")
    assert not loaded & ML
    assert not loaded & {"app", "sqlalchemy", "fastapi", "psycopg"}


def test_the_engine_loads_no_service() -> None:
    """But for redis: Optuna imports it where it is installed, for storages that nobody makes here."""
    assert not loaded_by("workers.engine.run") & (SERVICE - {"redis"} | {"app", "httpx"})


@pytest.mark.parametrize("module", ["whetstone.client", "whetstone.cli"])
def test_the_client_loads_only_its_few_dependencies(module: str) -> None:
    assert not loaded_by(module) & (ML | SERVICE | {"app", "workers"})


def test_the_contract_is_pydantic_and_nothing_else() -> None:
    assert not loaded_by("whetstone.contract.steps", "whetstone.contract.problems") & {"httpx", "typer", "rich"}


def test_nothing_is_read_from_the_environment_at_import() -> None:
    code = "import app.main, app.control, workers.main, workers.tasks"
    subprocess.run([sys.executable, "-c", code], env={"PATH": ""}, check=True)
