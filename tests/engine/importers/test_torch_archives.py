"""torch.export archives and TorchScript: imported where they can be shut in, hostile ones refused before they run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.importers import torch_archive_sources as made
from tests.engine.in_toolkit import needs
from whetstone.contract.failures import FailureCode
from whetstone.contract.toolkits import Toolkit
from workers.engine.errors import EngineError
from workers.engine.importers.detect import open_model
from workers.engine.importers.errors import UnsafeFile
from workers.engine.importers.pt2_filter import check_expression
from workers.engine.inspection import inspect_model
from workers.engine.toolkits import jail, offered
from workers.engine.toolkits.running import ToolkitMissing

TOOLKIT = Toolkit.TORCH_ARCHIVES
LOAD = """
import sys, torch
try:
    torch.export.load(sys.argv[1]).module()(torch.ones(2, 4))
except Exception as error:
    print(error)
"""
RUN = "import sys, torch; torch.jit.load(sys.argv[1])(torch.ones(2, 4))"
needs_jail = pytest.mark.skipif(jail.why_not() is not None, reason=f"nothing can be shut in here: {jail.why_not()}")


def load_as_pytorch_does(path: Path, how: str = LOAD) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", how, str(path)], check=True, capture_output=True)


@needs(TOOLKIT)
@needs_jail
@pytest.mark.parametrize(("any_batch", "rows", "samples"), [(True, "batch", 16), (False, 2, 32)])
def test_a_program_says_what_pytorch_says(tmp_path: Path, any_batch: bool, rows: int | str, samples: int) -> None:  # noqa: FBT001
    facts, _ = inspect_model(made.program(tmp_path / "m.pt2", any_batch=any_batch), tmp_path)
    assert facts.format == "torch-export"
    assert [(given.name, given.shape) for given in facts.inputs] == [("x", (rows, 4))]
    assert [(output.name, output.shape) for output in facts.outputs] == [("output", (rows, 3))]
    assert facts.imported is not None
    assert (facts.imported.samples, facts.imported.same) == (samples, 1)
    assert facts.imported.max_abs_error < 1e-5


@needs(TOOLKIT)
@needs_jail
def test_a_script_says_what_pytorch_says(tmp_path: Path) -> None:
    facts, _ = inspect_model(made.script(tmp_path / "model.pt"), tmp_path)
    assert facts.format == "torchscript"
    assert [(given.name, given.shape) for given in facts.inputs] == [("x", ("batch", 4))]
    assert facts.imported is not None
    assert (facts.imported.samples, facts.imported.same) == (16, 1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("samples", "would run 'posix.system'"),
        ("weights", "is a Python pickle"),
        ("sizes", "no plain arithmetic"),
        ("guards", "guards, which are code"),
        ("opaque", "is a Python pickle"),
    ],
)
def test_a_hostile_program_is_refused_before_it_runs(tmp_path: Path, name: str, told: str) -> None:
    path = made.HOSTILE[name](tmp_path / "m.pt2", tmp_path / "ran")
    with pytest.raises(UnsafeFile) as refused:
        open_model(path, tmp_path)
    assert told in str(refused.value)
    assert "torch.onnx.export" in (refused.value.advice or "")
    assert not (tmp_path / "ran").exists()
    load_as_pytorch_does(path)
    assert (tmp_path / "ran").exists(), "the file is not hostile"


@pytest.mark.parametrize("target", ["os.system", "torch.ops.mine.op.default", "torch.hub.load", "builtins.eval"])
def test_a_program_calls_none_but_pytorchs_own_operators(tmp_path: Path, target: str) -> None:
    with pytest.raises(UnsafeFile, match=f"calls '{target}'"):
        open_model(made.calls(tmp_path / "m.pt2", target), tmp_path)


@needs(TOOLKIT)
@needs_jail
def test_a_program_that_reads_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile, match="'aten::from_file'"):
        open_model(made.calls(tmp_path / "m.pt2", "torch.ops.aten.from_file.default"), tmp_path)


@needs(TOOLKIT)
@needs_jail
def test_a_script_that_writes_files_is_refused_before_it_runs(tmp_path: Path) -> None:
    path = made.script(tmp_path / "model.pt", made.Writes(str(tmp_path / "ran")))
    with pytest.raises(UnsafeFile, match="'aten::from_file'"):
        open_model(path, tmp_path)
    assert not (tmp_path / "ran").exists()
    load_as_pytorch_does(path, RUN)
    assert (tmp_path / "ran").exists(), "the file is not hostile"


def test_a_script_that_runs_when_it_is_loaded_is_refused(tmp_path: Path) -> None:
    path = made.script(tmp_path / "model.pt", made.WritesOnLoading(str(tmp_path / "ran")))
    (tmp_path / "ran").unlink(missing_ok=True)
    with pytest.raises(UnsafeFile, match="'__setstate__', which runs when it is loaded"):
        open_model(path, tmp_path)
    assert not (tmp_path / "ran").exists()
    load_as_pytorch_does(path, "import sys, torch; torch.jit.load(sys.argv[1])")
    assert (tmp_path / "ran").exists(), "the file is not hostile"


@needs(TOOLKIT)
@needs_jail
def test_a_script_must_say_what_goes_in(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"holds no valid `inputs.json`") as refused:
        open_model(made.script(tmp_path / "model.pt", declared=False), tmp_path)
    assert "_extra_files={'inputs.json'" in (refused.value.advice or "")


@pytest.mark.parametrize(
    "text", ["Symbol('s0', positive=True, integer=True)", "Add(Mul(Integer(2), Symbol('s0')), Integer(-1))", "2*s0 + 1"]
)
def test_arithmetic_is_let_through(text: str) -> None:
    check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "Symbol(__import__('os'))",
        "Symbol('x', positive=open('/etc/passwd'))",
        "Symbol('s0').__class__",
        "eval('1')",
        "Add(*[1])",
        "lambda: 1",
        "[x for x in (1,)]",
        "9**9**9**9",
        "Integer('9')",
        "(" * 5000,
    ],
)
def test_other_text_is_not(text: str) -> None:
    with pytest.raises(UnsafeFile, match="no plain arithmetic"):
        check_expression(text)


@needs(TOOLKIT)
@pytest.mark.parametrize("word", ["confined", "never"])
def test_where_it_cannot_be_shut_in_it_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv(offered.VARIABLE, word)
    if word == "confined":
        monkeypatch.setattr(jail, "MACHINE", "another machine")
        jail.why_not.cache_clear()
    try:
        assert TOOLKIT not in offered.offered()
        with pytest.raises(ToolkitMissing) as missing:
            open_model(made.program(tmp_path / "m.pt2"), tmp_path)
    finally:
        jail.why_not.cache_clear()
    failure = missing.value.as_failure()
    assert (failure.code, failure.toolkit) == (FailureCode.NO_WORKER, TOOLKIT)
