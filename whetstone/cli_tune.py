"""The command `whet tune`: settings of a recipe, varied until the best are known."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from whetstone import config
from whetstone.contract.jobs import Budget, JobSpec, Measurement, Objective
from whetstone.contract.targets import Target
from whetstone.contract.tuning import Pruner, Quantity, Sampler, Tune
from whetstone.declaring import PreprocessingOption
from whetstone.ordering import (
    RESULTS,
    BatchOption,
    DataOption,
    DetachOption,
    DropOption,
    ModelOption,
    ObjectiveOption,
    OutputOption,
    SecondsOption,
    ShapeOption,
    TargetOption,
    dataset_given,
    model_given,
    order,
    passes_given,
    print_estimate,
    shapes_given,
)
from whetstone.printing import AsJson

HOW = "write PASS.FIELD=float:LOW..HIGH, =log:LOW..HIGH, =int:LOW..HIGH (with /STEP behind, if you like) or =choice:A,B"


def tune(
    model: ModelOption,
    recipe: Annotated[Path, typer.Option(exists=True, help="JSON file with a list of passes")],
    vary: Annotated[
        list[str],
        typer.Option(
            help="a setting and its range, such as 1.learning_rate=log:1e-5..1e-2 (the second pass), "
            "0.sparsity=float:0.1..0.9, 1.batch_size=int:16..64/16 or 1.optimizer=choice:adam,sgd; repeatable"
        ),
    ],
    data: DataOption = None,
    preprocessing: PreprocessingOption = None,
    target: TargetOption = None,
    by: Annotated[list[Quantity] | None, typer.Option(help="what trials are judged by; the first decides")] = None,
    sampler: Annotated[Sampler, typer.Option(help="how values are chosen")] = Sampler.TPE,
    pruner: Annotated[Pruner, typer.Option(help="when a trial is given up early")] = Pruner.NONE,
    trials: Annotated[int, typer.Option(min=1, max=500, help="how many to run")] = 20,
    parallel: Annotated[int, typer.Option(min=1, max=100, help="how many at once, if there are the workers")] = 1,
    minutes: Annotated[float, typer.Option(min=0.1, help="after which no trial is queued")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same trials, one at a time")] = 0,
    objective: ObjectiveOption = Objective.LATENCY,
    max_drop: DropOption = None,
    batch_size: BatchOption = 1,
    input_shape: ShapeOption = None,
    seconds: SecondsOption = 30,
    estimate: Annotated[bool, typer.Option(help="only say what it would take; order nothing")] = False,
    output: OutputOption = RESULTS,
    detach: DetachOption = False,
    as_json: AsJson = False,
) -> None:
    """Find the best settings of a recipe, then run it with them and prove the result."""
    plan = _plan(
        {
            "passes": passes_given(recipe),
            "parameters": parameters(vary),
            "objectives": by or [Quantity.DROP],
            "sampler": sampler,
            "pruner": pruner,
            "trials": trials,
            "parallel": parallel,
            "minutes": minutes,
            "seed": seed,
        }
    )
    with config.connect() as client:
        spec = JobSpec(
            dataset_id=dataset_given(client, data, preprocessing),
            model_id=model_given(client, model),
            plan=plan,
            targets=tuple(target or [Target.ONNXRUNTIME_CPU]),
            budget=Budget(objective=objective, max_drop=max_drop),
            measurement=Measurement(batch_size=batch_size, max_seconds=seconds),
            input_shapes=shapes_given(input_shape or []),
        )
        if estimate:
            print_estimate(client.jobs.estimate(spec), as_json)
        order(client, spec, output, detach, as_json)


def _plan(fields: dict[str, Any]) -> Tune:
    """Raises BadParameter in place of pydantic's error: nothing is uploaded for a plan that cannot be."""
    try:
        return Tune.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part not in ("float", "int", "choice"))
        raise typer.BadParameter(f"{place}: {first['msg']}" if place else first["msg"]) from error


def parameters(given: list[str]) -> dict[str, dict[str, Any]]:
    """`PASS.FIELD=KIND:RANGE` each. Raises BadParameter."""
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        address, _, domain = text.partition("=")
        if address in found:
            raise typer.BadParameter(f"{address} is varied twice")
        kind, _, values = domain.partition(":")
        if kind == "choice" and values:
            found[address] = {"kind": "choice", "values": _choices(values)}
        elif kind in ("float", "log", "int") and ".." in values:
            found[address] = _range(kind, values)
        else:
            raise typer.BadParameter(f"{text}: {HOW}")
    return found


def _range(kind: str, values: str) -> dict[str, Any]:
    limits, _, step = values.partition("/")
    low, _, high = limits.partition("..")
    stepped = {"step": step} if step else {}
    return {"kind": "int" if kind == "int" else "float", "low": low, "high": high, "log": kind == "log", **stepped}


def _choices(values: str) -> list[Any]:
    """Separated by commas, or a list in JSON, whose values may be of any kind."""
    if values.startswith("["):
        try:
            found = json.loads(values)
        except json.JSONDecodeError as error:
            raise typer.BadParameter(f"{values} is no JSON: {error}") from error
        return list(found)
    return [_read(text.strip()) for text in values.split(",")]


def _read(text: str) -> Any:
    """A number, true, false or null as in JSON; all else is a word."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
