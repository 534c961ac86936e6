"""Orders taken up again: `whet jobs clone`, `whet jobs compare`, `whet templates`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.table import Table

from whetstone import config
from whetstone.cli_lists import LabelOption, labels_given
from whetstone.client import Client
from whetstone.contract.comparisons import Against, ComparedResult, Comparison
from whetstone.contract.jobs import JobRead
from whetstone.contract.reports import Estimate
from whetstone.contract.templates import JobTemplate, Overrides, TemplateChange, TemplateCreate, TemplateUse
from whetstone.ordering import DataOption, ModelOption, TargetOption, dataset_given, model_given
from whetstone.printing import AsJson, out, print_all, print_done, print_row

templates = typer.Typer(no_args_is_help=True, help="Orders that have a name, without model and data.")

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="the job's id, job_…")]
TemplateArgument = Annotated[str, typer.Argument(metavar="TEMPLATE", help="the template's name or id")]
NameOption = Annotated[str | None, typer.Option(help="what to call it")]
DescriptionOption = Annotated[str | None, typer.Option(help="what it is for")]
FromOption = Annotated[str | None, typer.Option("--from", metavar="JOB", help="take the order of this job")]
OrderOption = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="JSON file: plan, preset, targets, budget, measurement")
]


def clone(
    job: JobArgument,
    model: Annotated[str | None, typer.Option(help="another model: a file, or an id")] = None,
    data: DataOption = None,
    target: TargetOption = None,
    name: NameOption = None,
    label: LabelOption = None,
    as_json: AsJson = False,
) -> None:
    """Order a job again, with what is to be other. Prints the new job's id and does not wait."""
    with config.connect() as client:
        wanted = Overrides(
            name=name,
            labels=labels_given(label) if label else None,
            model_id=model and model_given(client, model),
            dataset_id=dataset_given(client, data),
            targets=tuple(target) if target else None,
        )
        _print_job(client.jobs.clone(job, wanted), as_json)


def compare(
    job: Annotated[list[str], typer.Argument(metavar="JOB JOB…", help="two jobs or more")], as_json: AsJson = False
) -> None:
    """Jobs side by side: what each came to, and everything that differs in what was ordered and done."""
    with config.connect() as client:
        found = client.jobs.compare(*job)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    out.print(_results(found))
    table = Table("differs", *(each.name for each in found.jobs), box=None, pad_edge=False)
    for each in found.differences:
        table.add_row(each.field, *(_plain(each.values.get(job.id)) for job in found.jobs))
    out.print(table)


@templates.command("create")
def create_template(
    name: Annotated[str, typer.Argument(help="no other template has it")],
    job: FromOption = None,
    order: OrderOption = None,
    description: DescriptionOption = None,
    as_json: AsJson = False,
) -> None:
    """Keep the order of a job, or one in a file, under a name."""
    with config.connect() as client:
        kept = _order(client, job, order)
        if kept is None:
            raise typer.BadParameter("name a job (--from) or a file (--order)")
        row = client.templates.create(TemplateCreate(name=name, description=description or "", order=kept))
    print_row(row, f"{row.id}  {row.name}", as_json)


@templates.command("list")
def list_templates(as_json: AsJson = False) -> None:
    """All templates, newest first."""
    with config.connect() as client:
        print_all(client.templates.list(), ("id", "name", "description", "changed_at"), as_json)


@templates.command("show")
def show_template(template: TemplateArgument, as_json: AsJson = True) -> None:  # noqa: ARG001 - always JSON
    """One template, as JSON."""
    with config.connect() as client:
        typer.echo(client.templates.get(_template(client, template)).model_dump_json(indent=2))


@templates.command("change")
def change_template(
    template: TemplateArgument,
    name: NameOption = None,
    job: FromOption = None,
    order: OrderOption = None,
    description: DescriptionOption = None,
    as_json: AsJson = False,
) -> None:
    """Change a template; jobs that were ordered by it stay as they are."""
    with config.connect() as client:
        wanted = TemplateChange(name=name, description=description, order=_order(client, job, order))
        row = client.templates.change(_template(client, template), wanted)
    print_row(row, f"{row.id}  {row.name}", as_json)


@templates.command("delete")
def delete_template(template: TemplateArgument, as_json: AsJson = False) -> None:
    """Delete a template; jobs that were ordered by it stay as they are."""
    with config.connect() as client:
        client.templates.delete(_template(client, template))
    print_done({"deleted": template}, "", as_json)


@templates.command("run")
def run_template(
    template: TemplateArgument,
    model: ModelOption,
    data: DataOption = None,
    name: NameOption = None,
    label: LabelOption = None,
    as_json: AsJson = False,
) -> None:
    """Order a job by a template. Prints its id and does not wait."""
    with config.connect() as client:
        template_id = _template(client, template)
        wanted = TemplateUse(
            model_id=model_given(client, model),
            dataset_id=dataset_given(client, data),
            name=name,
            labels=labels_given(label) if label else None,
        )
        _print_job(client.templates.submit(template_id, wanted), as_json)


def _print_job(job: JobRead, as_json: bool) -> None:
    print_row(job, job.id, as_json)


def _template(client: Client, given: str) -> str:
    """The id of the template of this name. Raises BadParameter."""
    if given.startswith("tpl_"):
        return given
    found = next((row.id for row in client.templates.list() if row.name == given), None)
    if found is None:
        raise typer.BadParameter(f"there is no template {given}")
    return found


def _order(client: Client, job: str | None, order: Path | None) -> JobTemplate | None:
    if job is not None:
        spec = client.jobs.get(job).spec
        return JobTemplate(**{name: getattr(spec, name) for name in JobTemplate.model_fields})
    if order is None:
        return None
    try:
        return JobTemplate.model_validate_json(order.read_bytes())
    except ValidationError as error:
        raise typer.BadParameter(f"{order}: {error}") from error


def _results(found: Comparison) -> Table:
    names = {job.id: job.name for job in found.jobs}
    table = Table(
        "target", "job", "verdict", "speed-up", "size", "accuracy", "against the first", pad_edge=False, box=None
    )
    for row in found.results:
        table.add_row(
            row.target.value, names[row.job_id], row.verdict.kind, *_figures(row), _against(row.against_first)
        )
    return table


def _figures(row: ComparedResult) -> tuple[str, str, str]:
    accuracy = "" if row.accuracy is None else f"{row.accuracy.result:.4g} {row.accuracy.metric}"
    return _interval(row.speedup, "×"), f"{row.size / 1e6:.3f} MB", accuracy


def _against(against: Against | None) -> str:
    if against is None:
        return ""
    told = [f"{against.growth:.2f}× as large"]
    told += [f"{_interval(against.slowdown, '×')} as slow"] if against.slowdown else []
    told += [f"{_interval(against.drop, '')} lost"] if against.drop else []
    return ", ".join((*told, *dict.fromkeys(against.unknown.values())))


def _interval(estimate: Estimate, unit: str) -> str:
    return f"{estimate.value:.2f}{unit} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _plain(value: Any) -> str:
    return "–" if value is None else str(value)
