"""The engine's front door: one request in, messages out, exactly one of them the last (`done` or `failed`)."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from pydantic import ValidationError

from whetstone.contract.failures import Failure, FailureCode
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.steps import (
    Compare,
    DatasetInspected,
    Deliver,
    InputRole,
    InspectDataset,
    InspectModel,
    MakeReport,
    ModelInspected,
    Optimize,
    SearchRecipe,
    TryValues,
)
from workers.engine.build import build
from workers.engine.compare import compare
from workers.engine.deliver import deliver
from workers.engine.errors import EngineError
from workers.engine.inspection import inspect_dataset, inspect_model
from workers.engine.optimize import optimize
from workers.engine.outcome import saved
from workers.engine.report.page import make_report
from workers.engine.request import Done, Failed, Message, Request
from workers.engine.search.run import search
from workers.engine.targets.choose import builder_for
from workers.engine.tuning.trial import try_values

Tell = Callable[[Message], None]


def run(request: Request, tell: Tell) -> Done:  # noqa: PLR0911 - one for each kind of task
    """Do the work. Raises EngineError for what is wrong with the tenant's files or wishes."""
    task = request.task
    match task:
        case InspectModel():
            return _inspect(request)
        case InspectDataset():
            role = InputRole.DATASET
            facts, preview = inspect_dataset(request.inputs[role], request.scratch, request.preprocessing.get(role))
            return Done(result=DatasetInspected(facts=facts, preview=preview))
        case Optimize():
            return optimize(request, task, tell)
        case SearchRecipe():
            return search(request, task, tell)
        case TryValues():
            return try_values(request, task, tell)
        case Deliver():
            builder = builder_for(task.target)
            return deliver(request, task, tell) if builder is None else build(request, task, builder, tell)
        case MakeReport():
            return make_report(request, task, tell)
        case Compare():
            return compare(request, task, tell)
        case _:
            assert_never(task)


def _inspect(request: Request) -> Done:
    """A model that is not ONNX leaves its ONNX form to all later steps."""
    facts, graph = inspect_model(request.inputs[InputRole.MODEL], request.scratch)
    made = () if facts.imported is None else (saved(graph, request.outputs, "imported.onnx", ArtifactKind.MODEL)[0],)
    return Done(result=ModelInspected(facts=facts), outputs=made)


def answer(request: Request, tell: Tell) -> None:
    """Run and tell the end, whatever it is."""
    try:
        tell(run(request, tell))
    except EngineError as error:
        tell(Failed(failure=error.as_failure(), outputs=error.outputs))
    except MemoryError:
        tell(Failed(failure=_out_of_memory()))
    except Exception as error:  # noqa: BLE001 - the last line of defence: a fault of ours becomes a typed failure
        tell(Failed(failure=_unexpected(error)))


def serve(request_file: Path, pipe: int) -> None:
    """In the sandboxed child: read the request, write messages to the pipe as JSON lines."""
    with os.fdopen(pipe, "wb", buffering=0) as out:

        def tell(message: Message) -> None:
            out.write(message.model_dump_json().encode() + b"\n")

        answer(Request.model_validate_json(request_file.read_bytes()), tell)


def _out_of_memory() -> Failure:
    return Failure(
        code=FailureCode.OUT_OF_MEMORY,
        message="The step needed more memory than it may use.",
        hint="Use a smaller batch or fewer samples, or ask the operator for a larger limit.",
    )


def _runtime_refused(error: Exception) -> Failure:
    """Onnxruntime raised while it ran the model: the model's fault, as it passed every check before."""
    return Failure(
        code=FailureCode.RUNTIME_CRASHED,
        message=f"The runtime could not run the model: {str(error).rpartition('Status Message: ')[2][:300]}",
        hint="Run the model in onnxruntime with such inputs yourself: it should fail in the same way there.",
        detail=str(error)[:2000],
    )


def _unexpected(error: Exception) -> Failure:
    if "allocate" in str(error).lower():
        return _out_of_memory()  # torch and onnxruntime say it in their own words
    if type(error).__module__.startswith("onnxruntime"):
        return _runtime_refused(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Failure(
        code=FailureCode.INTERNAL_ERROR,
        message=f"The engine failed: {type(error).__name__} in {Path(last.filename).name}:{last.lineno}",
        hint="This is a fault of the service. Please report it with the id of the step.",
        detail=str(error)[:2000] if not isinstance(error, ValidationError) else error.title,
    )
