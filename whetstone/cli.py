"""The command `whet`.

Exit codes: 0 done (for a job: improved), 1 failed, 2 wrong usage, 3 service not reachable or not logged in,
4 refused by the service, 10 no gain (the original was returned), 11 over budget.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from whetstone import (
    cli_account,
    cli_audit,
    cli_calibrate,
    cli_checks,
    cli_datasets,
    cli_lists,
    cli_members,
    cli_orders,
    cli_provenance,
    cli_retention,
    cli_service_accounts,
    cli_shares,
    cli_tenants,
    cli_tune,
    cli_uploads,
    cli_usage,
    cli_webhooks,
    config,
    show,
)
from whetstone.accounts import log_in
from whetstone.client import Client
from whetstone.contract.jobs import Assurance, Budget, JobSpec, Measurement, Objective, Recipe
from whetstone.contract.learning import Finetune
from whetstone.contract.metrics import Metric
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.presets import CustomPreset, Domain
from whetstone.contract.pruning import Granularity, Prune
from whetstone.contract.quantization import Activations, Quantize
from whetstone.contract.reports import ReportForm
from whetstone.contract.search import Limit, Search
from whetstone.contract.targets import Target
from whetstone.declaring import PreprocessingOption
from whetstone.errors import ApiError, JobFailed, NotLoggedIn, Unreachable, UploadRejected, WhetstoneError
from whetstone.ordering import (
    RESULTS,
    BatchOption,
    CalibrationOption,
    DataOption,
    DetachOption,
    DropOption,
    Exit,
    ModelOption,
    ObjectiveOption,
    OutputOption,
    ScenarioOption,
    SecondsOption,
    ShapeOption,
    TargetOption,
    calibration_given,
    dataset_given,
    err,
    exit_code,
    follow,
    model_given,
    order,
    passes_given,
    print_estimate,
    print_report,
    scenarios_given,
    shapes_given,
)
from whetstone.printing import AsJson, out, print_done, print_row
from whetstone.transport import DEFAULT_URL

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
models = typer.Typer(no_args_is_help=True, help="Upload and list models.")
jobs = typer.Typer(no_args_is_help=True, help="List, show, follow, finish and cancel jobs.")
cli_lists.add_to(models, "models", cli_lists.UPLOADED)
cli_lists.add_to(cli_datasets.app, "datasets", cli_lists.UPLOADED)
cli_lists.add_to(jobs, "jobs", cli_lists.ORDERED)
app.add_typer(models, name="models")
app.add_typer(cli_datasets.app, name="datasets")
app.add_typer(jobs, name="jobs")
app.add_typer(cli_webhooks.app, name="webhooks")
app.add_typer(cli_account.app, name="account")
app.add_typer(cli_members.keys, name="keys")
app.add_typer(cli_members.members, name="members")
app.add_typer(cli_members.invitations, name="invitations")
app.add_typer(cli_service_accounts.app, name="service-accounts")
app.add_typer(cli_audit.app, name="audit")
app.add_typer(cli_uploads.app, name="uploads")
app.add_typer(cli_retention.app, name="retention")
app.add_typer(cli_tenants.app, name="tenant")
app.add_typer(cli_usage.app, name="usage")
app.add_typer(cli_usage.budget, name="budget")
app.command()(cli_calibrate.calibrate)
app.add_typer(cli_checks.app, name="checks")
app.add_typer(cli_orders.templates, name="templates")
app.add_typer(cli_shares.app, name="shares")
jobs.command("clone")(cli_orders.clone)
jobs.command("compare")(cli_orders.compare)
app.command()(cli_tune.tune)
app.command()(cli_checks.check)
app.command("join")(cli_members.join_tenant)
app.command("verify")(cli_provenance.verify_file)
app.command("signing-keys")(cli_provenance.print_signing_keys)

File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
Name = Annotated[str | None, typer.Option(help="what to call it; the file's name if left out")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="the job's id, job_…")]


def main() -> None:
    """Run the command line; every error that is expected becomes one line and an exit code."""
    try:
        app()
    except (Unreachable, NotLoggedIn) as error:
        _quit(error, Exit.UNREACHABLE)
    except (ApiError, UploadRejected) as error:
        _quit(error, Exit.REFUSED)
    except (JobFailed, WhetstoneError) as error:
        _quit(error, Exit.FAILED)


def _quit(error: Exception, code: Exit) -> None:
    err.print(str(error), style="red", highlight=False, markup=False)
    sys.exit(code)


@app.command()
def login(
    url: Annotated[str, typer.Argument(help="the service's address")] = DEFAULT_URL,
    email: Annotated[str | None, typer.Option(help="log in with an email address and password")] = None,
    password: Annotated[str | None, typer.Option(help="asked for if left out")] = None,
    code: Annotated[str | None, typer.Option(help="of your second factor; asked for if needed")] = None,
    api_key: Annotated[str | None, typer.Option(help="use this key; asked for if no email is given")] = None,
    as_json: AsJson = False,
) -> None:
    """Remember the service's address and an API key for later commands."""
    if email is not None:
        secret = password or typer.prompt("Password", hide_input=True)
        api_key = log_in(url, email, secret, "whet", lambda: code or typer.prompt("Code")).secret
    api_key = api_key or typer.prompt("API key", hide_input=True)
    with Client(url, api_key) as client:
        tenant = client.me().tenant_id
    file = config.save(url, api_key)
    told = {"url": url, "tenant_id": tenant, "file": str(file)}
    print_done(told, f"Logged in to {url} (tenant {tenant}); kept in {file}.", as_json)


@models.command("upload")
def upload_model(file: File, name: Name = None, label: cli_lists.LabelOption = None, as_json: AsJson = False) -> None:
    """Upload an .onnx file, a .zip of one with its external data, a .skops, XGBoost or LightGBM file."""
    labels = cli_lists.labels_given(label)
    with config.connect() as client, show.upload_bar(err, file) as on_bytes:
        row = client.models.upload(file, name, on_bytes, labels)
    facts = row.facts
    detail = f"{facts.params:,} parameters, opset {facts.opset}" if facts else ""
    print_row(row, f"{row.id}  {row.name}  {detail}", as_json)


RecipeOption = Annotated[Path | None, typer.Option(exists=True, help="JSON file with a list of passes")]
PruneOption = Annotated[float | None, typer.Option(min=0, max=1, help="share of channels to cut")]
FinetuneOption = Annotated[int | None, typer.Option(min=1, help="epochs of training on the labels")]
QuantizeOption = Annotated[Activations | None, typer.Option(help="int8; static needs data")]
MinutesOption = Annotated[float, typer.Option(min=0.1, help="how long to search, without a recipe")]
TrialsOption = Annotated[int, typer.Option(min=1, max=500, help="how many candidates to try at most")]
PresetOption = Annotated[Domain | None, typer.Option(help="what the model is about; guessed where that is certain")]
MetricOption = Annotated[Metric | None, typer.Option(help="what is judged, if not what the preset says")]
MoneyOption = Annotated[float | None, typer.Option(min=0.0001, help="what searching may cost, where prices are set")]


@app.command()
def estimate(
    model: ModelOption,
    data: DataOption = None,
    preprocessing: PreprocessingOption = None,
    calibration: CalibrationOption = None,
    target: TargetOption = None,
    recipe: RecipeOption = None,
    prune: PruneOption = None,
    finetune: FinetuneOption = None,
    quantize: QuantizeOption = None,
    batch_size: BatchOption = 1,
    minutes: MinutesOption = 5,
    trials: TrialsOption = 40,
    money: MoneyOption = None,
    preset: PresetOption = None,
    metric: MetricOption = None,
    input_shape: ShapeOption = None,
    seconds: SecondsOption = 30,
    as_json: AsJson = False,
) -> None:
    """What `optimize` would take, and whether each target can be reached; orders nothing. Exit code 1: none can."""
    with config.connect() as client:
        dataset_id = dataset_given(client, data, preprocessing)
        spec = JobSpec(
            model_id=model_given(client, model),
            dataset_id=dataset_id,
            calibration_id=calibration_given(client, calibration),
            plan=_plan(recipe, prune, finetune, quantize, Limit(minutes=minutes, trials=trials, money=money)),
            preset=CustomPreset(domain=preset, metric=metric),
            targets=tuple(target or [Target.ONNXRUNTIME_CPU]),
            measurement=Measurement(batch_size=batch_size, max_seconds=seconds),
            input_shapes=shapes_given(input_shape or []),
        )
        found = client.jobs.estimate(spec)
    print_estimate(found, as_json)


@app.command()
def optimize(
    model: ModelOption,
    data: DataOption = None,
    preprocessing: PreprocessingOption = None,
    calibration: CalibrationOption = None,
    target: TargetOption = None,
    recipe: RecipeOption = None,
    prune: PruneOption = None,
    finetune: FinetuneOption = None,
    quantize: QuantizeOption = None,
    objective: ObjectiveOption = Objective.LATENCY,
    max_drop: DropOption = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0.001, max=1, help="or the accuracy to keep, such as 0.9")
    ] = None,
    assurance: Annotated[Assurance, typer.Option(help="what must stay within max-drop")] = Assurance.ESTIMATE,
    max_latency_ms: Annotated[float | None, typer.Option(help="limit of the median latency")] = None,
    max_size_mb: Annotated[float | None, typer.Option(help="limit of the file's size")] = None,
    max_slowdown: Annotated[float, typer.Option(min=1, help="times as long, where speed is not the objective")] = 2,
    batch_size: BatchOption = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="threads that are measured")] = None,
    minutes: MinutesOption = 5,
    trials: TrialsOption = 40,
    money: MoneyOption = None,
    preset: PresetOption = None,
    metric: MetricOption = None,
    input_shape: ShapeOption = None,
    seconds: SecondsOption = 30,
    scenario: ScenarioOption = None,
    label: cli_lists.LabelOption = None,
    output: OutputOption = RESULTS,
    detach: DetachOption = False,
    as_json: AsJson = False,
) -> None:
    """Make a model smaller and faster, and prove it.

    Without a recipe and without --prune, --finetune or --quantize the service searches for the recipe that serves best,
    for --minutes at most.
    """
    with config.connect() as client:
        dataset_id = dataset_given(client, data, preprocessing)
        spec = JobSpec(
            labels=cli_lists.labels_given(label),
            model_id=model_given(client, model),
            dataset_id=dataset_id,
            calibration_id=calibration_given(client, calibration),
            plan=_plan(recipe, prune, finetune, quantize, Limit(minutes=minutes, trials=trials, money=money)),
            preset=CustomPreset(domain=preset, metric=metric),
            targets=tuple(target or [Target.ONNXRUNTIME_CPU]),
            budget=Budget(
                objective=objective,
                max_drop=max_drop,
                min_accuracy=min_accuracy,
                assurance=assurance,
                max_latency_ms=max_latency_ms,
                max_size_mb=max_size_mb,
                max_slowdown=max_slowdown,
            ),
            measurement=Measurement(
                batch_size=batch_size,
                threads=threads,
                max_seconds=seconds,
                scenarios=scenarios_given(scenario or []),
            ),
            input_shapes=shapes_given(input_shape or []),
        )
        order(client, spec, output, detach, as_json)


def _plan(
    recipe: Path | None, prune: float | None, finetune: int | None, quantize: Activations | None, limit: Limit
) -> Recipe | Search:
    if recipe is not None:
        return Recipe(passes=passes_given(recipe))
    if prune is None and finetune is None and quantize is None:
        return Search(limit=limit)
    passes: list[Pass] = [Simplify()]
    if prune is not None:
        passes.append(Prune(granularity=Granularity.CHANNEL, sparsity=prune))
    if finetune is not None:
        passes.append(Finetune(epochs=finetune))
    if quantize is not None:
        passes.append(Quantize(activations=quantize))
    return Recipe(passes=tuple(passes))


@jobs.command("show")
def show_job(job: JobArgument, as_json: AsJson = False) -> None:
    """One job with its steps."""
    with config.connect() as client:
        row = client.jobs.get(job)
    steps = "\n".join(f"  {step.kind:<16} {step.state:<10} {step.target or ''}" for step in row.steps)
    print_row(row, f"{row.id}  {row.name}  {row.state}\n{steps}", as_json)


@jobs.command("follow")
def follow_job(job: JobArgument, as_json: AsJson = False) -> None:
    """Watch a job until it ends."""
    with config.connect() as client:
        report = follow(client, job)
    print_report(report, as_json)
    raise typer.Exit(exit_code(report))


@jobs.command("cancel")
def cancel_job(job: JobArgument, as_json: AsJson = False) -> None:
    """Stop a job that has not finished."""
    with config.connect() as client:
        row = client.jobs.cancel(job)
    print_row(row, f"{row.id}  {row.state}", as_json)


@jobs.command("finish")
def finish_job(job: JobArgument, as_json: AsJson = False) -> None:
    """Stop searching and take the best found so far."""
    with config.connect() as client:
        row = client.jobs.finish(job)
    print_row(row, f"{row.id}  finishing with the best so far", as_json)


@app.command()
def report(
    job: JobArgument,
    form: Annotated[ReportForm | None, typer.Option("--format", help="print the whole report in this form")] = None,
    as_json: AsJson = False,
) -> None:
    """The measurements and the verdict of a job; the exit code tells the verdict."""
    with config.connect() as client:
        found = client.jobs.report(job)
        text = None if form is None else client.jobs.report_text(job, form)
    if text is None:
        print_report(found, as_json)
    else:
        typer.echo(text)
    raise typer.Exit(exit_code(found))


@app.command()
def download(
    job: JobArgument,
    output: OutputOption = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Fetch every file that came out of a job."""
    with config.connect() as client:
        files = [str(path) for path in client.jobs.download(job, output)]
    if as_json:
        typer.echo(json.dumps(files, indent=2))
    else:
        out.print(*files, sep="\n", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
