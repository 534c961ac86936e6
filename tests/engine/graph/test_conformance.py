"""The interpreter against the ONNX project's own node tests: docs/ops.md says what passes, and it must stay true."""

import re
from pathlib import Path

import pytest

from scripts.conformance import Results, run_all
from scripts.gradients import told
from workers.engine.graph.ops.table import OPS

PAGE = Path(__file__).parents[3] / "docs" / "ops.md"
ROW = re.compile(r"^\| (\S+) \| (\d+) \| (\d+) \| ([^|]*) \|", re.MULTILINE)


@pytest.fixture(scope="module")
def results() -> Results:
    return run_all()


def test_every_operator_passes_what_the_page_says(results: Results) -> None:
    said = {op: (int(passed), int(total)) for op, passed, total, _ in ROW.findall(PAGE.read_text())}
    found = {op: (each.passed, len(each.cases)) for op, each in results.items()}
    assert len(said) > 150
    assert {op: count for op, count in found.items() if count != said.get(op)} == {}


def test_every_gradient_is_what_the_page_says(results: Results) -> None:
    said = {op: gradient.strip() for op, _, _, gradient in ROW.findall(PAGE.read_text())}
    assert {op: told(op, each.gradients) for op, each in results.items()} == said


def test_gradients_agree_with_finite_differences_wherever_they_can_be_tried(results: Results) -> None:
    tried = {op: told(op, each.gradients) for op, each in results.items() if each.tried}
    assert len(tried) > 120
    assert [op for op, text in tried.items() if text.split(" of ")[0] != text.split(" of ")[-1]] == []
    untried = {op for op, each in results.items() if op in OPS and OPS[op].smooth and not each.tried}
    assert untried == {"CastLike", "If", "QuantizeLinear", "SequenceInsert", "Trilu"}  # tests/…/test_gradients.py
