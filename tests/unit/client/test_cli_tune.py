"""How `whet tune` is told what to vary, and what it says to what it cannot read."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from whetstone.cli import app
from whetstone.cli_tune import parameters
from whetstone.contract.tuning import Choice, FloatRange, IntRange, Tune


def test_every_kind_of_range() -> None:
    given = [
        "1.learning_rate=log:1e-5..1e-2",
        "0.sparsity=float:0.1..0.9/0.2",
        "1.batch_size=int:16..64/16",
        "1.optimizer=choice:adam,sgd",
        "1.clip_norm=choice:null, 1,0.5",
        '1.schedule=choice:[{"kind":"cosine"},{"kind":"constant"}]',
    ]
    passes = [{"kind": "prune"}, {"kind": "finetune"}]
    found = Tune.model_validate({"passes": passes, "parameters": parameters(given)}).parameters
    assert list(found.values()) == [
        FloatRange(low=1e-5, high=1e-2, log=True),
        FloatRange(low=0.1, high=0.9, step=0.2),
        IntRange(low=16, high=64, step=16),
        Choice(values=("adam", "sgd")),
        Choice(values=(None, 1, 0.5)),
        Choice(values=({"kind": "cosine"}, {"kind": "constant"})),
    ]


@pytest.mark.parametrize(
    "text", ["1.learning_rate", "a=log:1", "a=float:", "a=steps:1..2", "a=choice:", "a=choice:[1,"]
)
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parameters([text])


@pytest.mark.parametrize(
    ("vary", "told"),
    [
        ("0.learning=log:1e-5..1e-2", "no 'learning'"),
        ("0.learning_rate=log:0..1", "log needs a low above 0"),
        ("0.learning_rate=float:a..1", "valid number"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_before_anything_is_uploaded(tmp_path: Path, vary: str, told: str) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps([{"kind": "finetune"}]))
    done = CliRunner().invoke(app, ["tune", "nowhere.onnx", "--recipe", str(recipe), "--vary", vary])
    assert done.exit_code == 2
    assert told in " ".join(done.output.replace("│", " ").split())


def test_varied_twice() -> None:
    with pytest.raises(typer.BadParameter, match="twice"):
        parameters(["0.sparsity=float:0.1..0.2", "0.sparsity=float:0.3..0.4"])
