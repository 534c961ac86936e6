"""What a job is expected to take, told before it is ordered."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from whetstone.contract.jobs import StepKind
from whetstone.contract.targets import Target
from whetstone.contract.types import Bytes, Contract, Count, Seconds


class Basis(StrEnum):
    """Where a figure comes from: rules for the kind of work, or those set right by the tenant's earlier steps."""

    RULE = "rule"
    HISTORY = "history"


class StepEstimate(Contract):
    """One step: the seconds it is expected to take, and so many earlier steps that the rule was set right by."""

    kind: StepKind
    target: Target | None
    seconds: Seconds
    memory: Bytes
    basis: Basis
    learned_from: Count


class TargetEstimate(Contract):
    """Whether the model can run on a target. `unsupported` counts the nodes of each operator that its runtime refused
    when the model was inspected: none of them can stay behind, so the target is not feasible. `available`: a worker is
    there now.
    """

    target: Target
    feasible: bool
    available: bool
    unsupported: dict[str, int] = {}
    because: str | None = None


class Price(Contract):
    """An amount of money; the currency in three letters (ISO 4217)."""

    amount: Annotated[float, Field(ge=0)]
    currency: str


class JobEstimate(Contract):
    """What an order would take. `seconds` is the time from its start with one worker, without any time in a queue;
    `memory` what the largest step needs, `price` what its steps cost where the operator has set prices. An order that
    would be refused is refused here in the same words.
    """

    feasible: bool
    seconds: Seconds
    memory: Bytes
    steps: tuple[StepEstimate, ...]
    targets: tuple[TargetEstimate, ...]
    price: Price | None = None
