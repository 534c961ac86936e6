"""An order made of an earlier one and of what is to be other."""

from pydantic import ValidationError

from app.core.errors import AppError
from app.jobs.tables import JobRow
from whetstone.contract.jobs import JobSpec
from whetstone.contract.problems import FieldProblem
from whetstone.contract.templates import OrderChanges, Overrides


class InvalidOverrides(AppError):
    """The old order with these changes is none that can be carried out."""

    code, status = "invalid_overrides", 422


def cloned(job: JobRow, wanted: Overrides) -> JobSpec:
    """What was ordered, under the name and the labels that the job has by now. Raises InvalidOverrides."""
    spec = job.spec.model_copy(update={"name": job.name, "labels": job.labels})
    return overridden(spec.model_copy(update={"dataset_id": None}) if wanted.without_dataset else spec, wanted)


def overridden(spec: JobSpec, wanted: OrderChanges) -> JobSpec:
    """Raises InvalidOverrides."""
    given = {name: value for name, value in wanted if name in JobSpec.model_fields and value is not None}
    try:
        return JobSpec.model_validate(dict(spec) | given)
    except ValidationError as error:
        fields = tuple(
            FieldProblem(field="/".join(map(str, item["loc"])) or "order", message=item["msg"])
            for item in error.errors()
        )
        raise InvalidOverrides("; ".join(each.message for each in fields[:5]), errors=fields) from error
