"""Run ONNX's own node tests on the interpreter, forwards and backwards; write what passes, op by op, to docs/ops.md.

    make conformance

The tests and their data are made by the onnx package, in memory; nothing is downloaded. Each case names the op it is
about; a case that the standard wrote out in simpler ops (`…_expanded`) counts for that op as well.
"""

import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt, Runner, _normalize_tensor
from rich.progress import track

from scripts.gradients import ENOUGH, Verdict, check_gradient, told
from workers.engine.graph.backend import TorchBackend
from workers.engine.graph.ops.program import NodeFailed

PAGE = Path(__file__).parents[1] / "docs" / "ops.md"
INTRODUCTION = """# Operators

Which operators the engine's interpreter runs, by the ONNX project's own node tests (package `onnx` {version}): passed
of all, per operator. Written by `make conformance`.

**{passed} of {total} tests pass ({rate:.1%}).** An operator that is not known is refused by its node's name, before any
work: those left out are for strings, images, trees and optimizers.

`gradient` says how the operator trains: of how many of these tests (up to {enough}, in double precision) the gradient
is that of finite differences; `none` where it passes no gradient, so that nothing before it learns through it;
`straight-through` where rounding is passed as if it were not there. **{agreeing} of {trained} operators that pass a
gradient and could be tried agree in all of theirs.**

| operator | passed | of | gradient | what fails |
|---|---|---|---|---|
"""


@dataclass
class Found:
    """Of one operator: the name of each case with why it fails, or nothing; and what was found of its gradient."""

    cases: list[tuple[str, str]] = field(default_factory=list)
    gradients: list[Verdict] = field(default_factory=list)

    @property
    def passed(self) -> int:
        return sum(not why for _, why in self.cases)

    @property
    def tried(self) -> int:
        return sum(verdict is not Verdict.NOT_TRIED for verdict in self.gradients)


Results = dict[str, Found]
"""By operator."""


def main() -> None:
    results = run_all()
    passed = sum(found.passed for found in results.values())
    total = sum(len(found.cases) for found in results.values())
    PAGE.write_text(_page(results, passed, total))
    print(f"RESULT passed={passed} total={total} rate={passed / total:.4f}")


def run_all() -> Results:
    results: Results = defaultdict(Found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in track(load_model_tests(kind="node"), description="node tests", transient=True):
            found = results[_op_of(case.model)]
            found.cases.append((case.name, _outcome(case)))
            if found.tried < ENOUGH:
                found.gradients.append(check_gradient(case))
    return results


def _op_of(model: Any) -> str:
    """The op a case is about: its only one, or the last."""
    return str(model.graph.node[-1].op_type) if model.graph.node else "(none)"


def _outcome(case: Any) -> str:
    """Empty if all of a case's data sets pass, else why not."""
    try:
        prepared = TorchBackend.prepare(case.model)
        for inputs, outputs in case.data_sets:
            made = prepared.run([_normalize_tensor(value) for value in inputs])
            expected = [_normalize_tensor(value) for value in outputs]
            Runner.assert_similar_outputs(expected, made, case.rtol, case.atol)
    except BackendIsNotSupposedToImplementIt:
        return "not known"
    except AssertionError:
        return "another result"
    except NodeFailed as error:
        return type(error.why).__name__
    except Exception as error:  # noqa: BLE001 - whatever else goes wrong is a failed case
        return type(error).__name__
    return ""


def _page(results: Results, passed: int, total: int) -> str:
    rows = []
    for op, found in sorted(results.items()):
        reasons = ", ".join(sorted({why for _, why in found.cases if why}))
        rows.append(f"| {op} | {found.passed} | {len(found.cases)} | {told(op, found.gradients)} | {reasons} |")
    trained = [found for found in results.values() if found.tried]
    head = INTRODUCTION.format(
        version=version("onnx"),
        passed=passed,
        total=total,
        rate=passed / total,
        enough=ENOUGH,
        agreeing=sum(Verdict.DIFFERS not in found.gradients for found in trained),
        trained=len(trained),
    )
    return head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
