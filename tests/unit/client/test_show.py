"""The table that ends a job on the command line."""

from rich.console import Console

from tests.engine.report import factory
from whetstone import show
from whetstone.contract.reports import JobReport, VerdictKind
from whetstone.ordering import Exit, exit_code


def table_of(report: JobReport) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as printed:
        console.print(show.report_table(report))
    return printed.get()


def test_what_was_built_and_not_run_claims_no_speed() -> None:
    built = factory.built_report()
    report = factory.job_report(targets=(), built=(built,), verdict=built.verdict)
    told = table_of(report)
    for words in ("tensorrt-rtx/sm89", "0.435 MB", "not run", "seen in onnxruntime/cpu", "90.59%", "built"):
        assert words in told
    for words in ("speed", "p50", "×"):
        assert words not in told
    assert exit_code(report) == Exit.DONE


def test_every_verdict_has_a_colour() -> None:
    assert show.COLOURS.keys() == set(VerdictKind)


def test_measured_targets_come_first() -> None:
    told = table_of(factory.job_report(built=(factory.built_report(),)))
    assert told.index("onnxruntime/cpu") < told.index("tensorrt-rtx/sm89")
