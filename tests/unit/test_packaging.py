"""The project's own files agree with each other."""

import re
import tomllib
from pathlib import Path

from app.settings import Settings
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]


def names(lines: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~ ]", line.strip(), maxsplit=1)[0] for line in lines if re.match(r"\w", line.strip())}


def test_what_a_user_installs_is_what_the_lock_starts_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert names(project["dependencies"]) == names((ROOT / "requirements" / "client.in").read_text().splitlines())


def test_lock_files_pin_everything_and_name_no_address() -> None:
    for path in (ROOT / "requirements").rglob("*.txt"):
        for line in path.read_text().splitlines():
            assert line.startswith("#") or re.fullmatch(r"[a-z0-9._-]+==[^\s+]+( ; .+)?", line), f"{path.name}: {line}"


def test_the_parts_of_the_lock_agree() -> None:
    locks = {path.name: set(path.read_text().splitlines()[1:]) for path in (ROOT / "requirements").glob("*.txt")}
    assert locks["app.txt"] <= locks["dev.txt"]
    assert locks["engine.txt"] <= locks["dev.txt"]


def test_what_the_scoreboard_installs_beside_the_environment_is_not_in_it() -> None:
    locks = {path.name: names(path.read_text().splitlines()) for path in (ROOT / "requirements").glob("*.txt")}
    assert not (locks["bench.txt"] | locks["bench-models.txt"]) & locks["dev.txt"]


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    for group, prefix in ((Settings, "WHETSTONE_"), (WorkerSettings, "WHETSTONE_WORKER_")):
        for name, field in group.model_fields.items():
            nested = getattr(field.annotation, "model_fields", None)
            for variable in [f"{name}__{part}" for part in nested] if nested else [name]:
                assert f"`{prefix}{variable.upper()}`" in page, variable
