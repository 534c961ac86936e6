"""Orders that are written once and used again: templates, and what is changed when a job is ordered anew."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from whetstone.contract.jobs import Budget, Measurement, Recipe
from whetstone.contract.labels import Labels
from whetstone.contract.presets import CustomPreset, Domain
from whetstone.contract.search import Search
from whetstone.contract.targets import Target
from whetstone.contract.tuning import Tune
from whetstone.contract.types import Contract, DatasetRef, DisplayName, ModelRef, TemplateRef, TensorName

Plan = Annotated[Recipe | Search | Tune, Field(discriminator="kind")]
Targets = Annotated[tuple[Target, ...], Field(min_length=1, max_length=16)]
Shapes = dict[TensorName, tuple[Annotated[int, Field(ge=1, le=2**31)], ...]]


class OrderChanges(Contract):
    """What is other than in the order that is taken up; each field replaces the whole of the old one.

    The contract of `JobSpec` says what each field is.
    """

    name: DisplayName | None = None
    labels: Labels | None = None
    dataset_id: DatasetRef | None = None
    calibration_id: DatasetRef | None = None
    plan: Plan | None = None
    preset: Domain | CustomPreset | None = None
    targets: Targets | None = None
    budget: Budget | None = None
    measurement: Measurement | None = None
    input_shapes: Shapes | None = None


class Overrides(OrderChanges):
    """A job that is ordered again, with another model perhaps. `without_dataset` leaves the dataset out."""

    model_id: ModelRef | None = None
    without_dataset: bool = False


class JobTemplate(Contract):
    """All of an order but the model and the data. The contract of `JobSpec` says what each field is."""

    plan: Plan = Search()
    preset: Domain | CustomPreset | None = None
    targets: Targets = (Target.ONNXRUNTIME_CPU,)
    budget: Budget = Budget()
    measurement: Measurement = Measurement()


class TemplateCreate(Contract):
    """No two templates of a tenant have the same name."""

    name: DisplayName
    description: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")] = ""
    order: JobTemplate


class TemplateChange(Contract):
    """What is left out stays as it is. Jobs that were ordered before do not change."""

    name: DisplayName | None = None
    description: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")] | None = None
    order: JobTemplate | None = None


class TemplateRead(Contract):
    id: TemplateRef
    name: str
    description: str
    order: JobTemplate
    created_at: datetime
    changed_at: datetime


class TemplateUse(OrderChanges):
    """A job by a template: a model, perhaps a dataset, and what is other than in the template."""

    model_id: ModelRef
