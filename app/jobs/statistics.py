"""Whether statistics go with an order: they are of its model, and its recipe has a use for them."""

from app.core.errors import AppError
from app.datasets.tables import DatasetRow
from app.jobs.checks import DatasetMismatch, InvalidPlan, NotReady, check_ready
from app.models.tables import ModelRow
from whetstone.contract.jobs import JobSpec, Recipe
from whetstone.contract.passes import Simplify
from whetstone.contract.quantization import Quantize

USE = "Statistics serve a recipe of `quantize` with int8 and static activations, after `simplify` at most"


class StatisticsMismatch(AppError):
    """The statistics are not of this model."""

    code, status = "statistics_mismatch", 422
    hint = "Measure them with `whet calibrate MODEL DATA`, MODEL being the .onnx file that you uploaded."


def check_holds_samples(dataset: DatasetRow | None) -> None:
    """Raises DatasetMismatch where the job's dataset holds statistics."""
    if dataset is not None and dataset.facts is not None and dataset.facts.statistics is not None:
        raise DatasetMismatch(
            f"The dataset {dataset.id} holds statistics and no samples.", hint="Name it as `calibration_id`."
        )


def check_statistics(spec: JobSpec, model: ModelRow, row: DatasetRow) -> None:
    """Raises NotReady, Rejected, StatisticsMismatch, InvalidPlan."""
    check_ready(row, "dataset")
    if row.facts is None or model.facts is None:
        raise NotReady
    found = row.facts.statistics
    if found is None:
        raise StatisticsMismatch(f"The dataset {row.id} holds no statistics.", hint="Name it as `dataset_id`.")
    if found.model_sha256 != model.file.sha256:
        raise StatisticsMismatch(f"The statistics are of a file with the sha256 {found.model_sha256[:12]}…, not of it.")
    _check_inputs(model, row)
    _check_use(spec)


def _check_inputs(model: ModelRow, row: DatasetRow) -> None:
    have = {field.name for field in row.facts.fields} if row.facts else set()
    wanted = {tensor.name for tensor in model.facts.inputs if tensor.dtype == "float32"} if model.facts else set()
    if missing := sorted(wanted - have):
        raise StatisticsMismatch(f"The statistics do not know the model's input '{missing[0]}'.")


def _check_use(spec: JobSpec) -> None:
    passes = spec.plan.passes if isinstance(spec.plan, Recipe) else ()
    index = next((i for i, config in enumerate(passes) if isinstance(config, Quantize) and config.is_static), None)
    if index is None:
        raise InvalidPlan(f"{USE}, which the plan has not.", hint="Leave `calibration_id` out.")
    if any(not isinstance(config, Simplify) for config in passes[:index]):
        raise InvalidPlan(f"{USE}: what comes before it changes the ranges.", hint="Calibrate with a dataset.")
    config = passes[index]
    if isinstance(config, Quantize) and (config.equalize or config.smooth is not None):
        raise InvalidPlan(f"{USE}; `equalize` and `smooth` change the ranges.", hint="Calibrate with a dataset.")
