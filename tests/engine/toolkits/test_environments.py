"""Environments of toolkits: made once, whole or not at all, anew when the lock file changes."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from whetstone.contract.toolkits import Toolkit
from workers.engine.toolkits import environments
from workers.engine.toolkits.environments import NotBuilt, build, python_in

WHO = "import sys; print(sys.prefix)"


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    """A lock file that asks for no packages."""
    lock = tmp_path / "nothing.txt"
    lock.write_text("# empty\n")
    return lock


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path / "toolkits"))
    return tmp_path / "toolkits"


def test_an_environment_has_a_python_of_its_own(tmp_path: Path, nothing: Path) -> None:
    place = tmp_path / "kits" / "nothing-1"
    build(place, nothing)
    told = subprocess.run([python_in(place), "-I", "-c", WHO], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(place)
    assert subprocess.run([python_in(place), "-I", "-c", "import torch"], capture_output=True, check=False).returncode


def test_two_that_want_the_same_build_it_once(tmp_path: Path, nothing: Path) -> None:
    place = tmp_path / "kits" / "nothing-1"
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(build, place, nothing) for _ in range(2)]:
            done.result()
    assert {path.name for path in place.parent.iterdir()} == {"nothing-1", "nothing-1.lock"}
    made = place.stat().st_ino
    build(place, nothing)
    assert place.stat().st_ino == made


def test_what_cannot_be_installed_leaves_nothing_behind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "wrong.txt"
    lock.write_text("./no-such-package.whl\n")
    with pytest.raises(NotBuilt, match=r"wrong\.txt"):
        build(tmp_path / "kits" / "wrong-1", lock)
    assert "no-such-package" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "kits").iterdir()] == ["wrong-1.lock"]


@pytest.mark.parametrize("toolkit", Toolkit)
def test_a_changed_lock_file_means_another_environment(
    toolkit: Toolkit, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = environments.place_of(toolkit)
    assert before.parent == folder
    text = environments.lock_of(toolkit).read_text()
    monkeypatch.setattr(environments, "LOCKS", tmp_path)
    (tmp_path / f"{toolkit}.txt").write_text(text)
    assert environments.place_of(toolkit) == before
    (tmp_path / f"{toolkit}.txt").write_text(text + "six==1.16.0\n")
    assert environments.place_of(toolkit) != before


@pytest.mark.parametrize("toolkit", Toolkit)
def test_what_is_wanted_is_locked(toolkit: Toolkit) -> None:
    wanted = environments.lock_of(toolkit).with_suffix(".in").read_text().splitlines()
    locked = environments.lock_of(toolkit).read_text().splitlines()
    assert {line for line in wanted if "==" in line} <= set(locked)


def test_the_command_lists_what_is_built_and_says_how_to_get_the_rest(folder: Path) -> None:
    def say(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workers", "toolkits", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert "tensorflow: not built" in say().stdout
    missing = say("check", "tensorflow")
    assert missing.returncode == 1
    assert "python -m workers toolkits install tensorflow" in missing.stderr
    environments.place_of(Toolkit.TENSORFLOW).mkdir(parents=True)
    assert "tensorflow: built; reads keras" in say().stdout
    broken = say("check")
    assert broken.returncode == 1
    assert str(folder) in broken.stderr


@pytest.mark.skipif(not environments.built(), reason="no toolkit is built here: make test-toolkits")
def test_toolkits_that_are_built_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(environments.FOLDER_VARIABLE)
    for toolkit in environments.built():
        assert environments.check(toolkit)
