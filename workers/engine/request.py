"""What passes between the worker and the sandboxed child: plain data, both ways, never pickled."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from whetstone.contract.failures import Failure
from whetstone.contract.jobs import ArtifactKind
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.reports import PassReport
from whetstone.contract.steps import InputRole, StepResult, Task
from whetstone.contract.trials import Proposal, Trial
from whetstone.contract.tuning import Values
from whetstone.contract.types import Contract, FileName, Fraction, Seconds


class Request(Contract):
    """One piece of work. All paths lie in the scratch folder; `outputs` is an empty folder for what is made.

    `preprocessing` says how datasets are read that are no .npz.
    """

    task: Task
    inputs: dict[InputRole, Path]
    preprocessing: dict[InputRole, Preprocessing] = {}
    outputs: Path
    scratch: Path


class MadeFile(Contract):
    """A file in the `outputs` folder that should be kept."""

    name: FileName
    kind: ArtifactKind
    media_type: str


class Progress(Contract):
    kind: Literal["progress"] = "progress"
    fraction: Fraction
    message: Annotated[str, Field(max_length=500)]
    metrics: Annotated[dict[str, float], Field(max_length=50)] = {}


class Log(Contract):
    kind: Literal["log"] = "log"
    line: Annotated[str, Field(max_length=2000)]


class PassDone(Contract):
    """A pass has ended; `file` holds the graph after it, so that a retry can go on from there."""

    kind: Literal["pass_done"] = "pass_done"
    passes: tuple[PassReport, ...]
    file: MadeFile


class LearningSaved(Contract):
    """A learning pass has got this far; from `file` a retry goes on as if nothing had happened."""

    kind: Literal["learning_saved"] = "learning_saved"
    file: MadeFile


class Trying(Contract):
    """A search is about to try a candidate, which may take so many seconds more; so many were spent before it."""

    kind: Literal["trying"] = "trying"
    proposal: Proposal
    allowed: Seconds
    spent: Seconds


class Tried(Contract):
    """What became of a candidate; `best` holds the best graph of each target, where there is a better one now."""

    kind: Literal["tried"] = "tried"
    trial: Trial
    spent: Seconds
    best: MadeFile | None = None


class Chosen(Contract):
    """A trial is about to run with these values."""

    kind: Literal["chosen"] = "chosen"
    parameters: Values


class Done(Contract):
    kind: Literal["done"] = "done"
    result: StepResult
    outputs: tuple[MadeFile, ...] = ()


class Failed(Contract):
    kind: Literal["failed"] = "failed"
    failure: Failure
    outputs: tuple[MadeFile, ...] = ()


Message = Annotated[
    Progress | Log | PassDone | LearningSaved | Trying | Tried | Chosen | Done | Failed, Field(discriminator="kind")
]
