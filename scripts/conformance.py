"""Run ONNX's own node tests on the interpreter; write what passes, op by op, to docs/ops.md.

    make conformance

The tests and their data are made by the onnx package, in memory; nothing is downloaded. Each case names the op it is
about; a case that the standard wrote out in simpler ops (`…_expanded`) counts for that op as well.
"""

import warnings
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt, Runner, _normalize_tensor
from rich.progress import track

from workers.engine.graph.backend import TorchBackend

PAGE = Path(__file__).parents[1] / "docs" / "ops.md"
INTRODUCTION = """# Operators

Which operators the engine's interpreter runs, by the ONNX project's own node tests (package `onnx` {version}): passed
of all, per operator. Written by `make conformance`.

**{passed} of {total} tests pass ({rate:.1%}).** An operator that is not known is refused by its node's name, before any
work: those left out are for strings, images, trees and optimizers.

| operator | passed | of | what fails |
|---|---|---|---|
"""


Results = dict[str, list[tuple[str, str]]]
"""By operator: the name of each case, and why it fails, or nothing."""


def main() -> None:
    results = run_all()
    passed = sum(not why for cases in results.values() for _, why in cases)
    total = sum(map(len, results.values()))
    PAGE.write_text(_page(results, passed, total))
    print(f"RESULT passed={passed} total={total} rate={passed / total:.4f}")


def run_all() -> Results:
    results: Results = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in track(load_model_tests(kind="node"), description="node tests", transient=True):
            results[_op_of(case.model)].append((case.name, _outcome(case)))
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
    except Exception as error:  # noqa: BLE001 - whatever an op raises is a failed case
        return type(error).__name__
    return ""


def _page(results: Results, passed: int, total: int) -> str:
    rows = []
    for op, cases in sorted(results.items()):
        reasons = sorted({why for _, why in cases if why})
        rows.append(f"| {op} | {sum(not why for _, why in cases)} | {len(cases)} | {', '.join(reasons)} |")
    head = INTRODUCTION.format(version=version("onnx"), passed=passed, total=total, rate=passed / total)
    return head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
