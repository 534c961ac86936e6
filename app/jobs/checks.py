"""What can be refused when a job is submitted, before anything is queued: the spec against the inspected files."""

from collections.abc import Iterator
from typing import assert_never

from app.core.errors import AppError
from app.datasets.tables import DatasetRow
from app.jobs.presets import PresetMismatch, preset_for
from app.models.tables import ModelRow
from whetstone.contract.adaptation import Adapt, Coral, Mmd
from whetstone.contract.datasets import DatasetFacts, Split
from whetstone.contract.jobs import JobSpec, Objective, Recipe
from whetstone.contract.learning import Finetune
from whetstone.contract.losses import LabelTerm
from whetstone.contract.models import InspectionState, ModelFacts, TensorFacts
from whetstone.contract.passes import Pass, Simplify
from whetstone.contract.problems import FieldProblem
from whetstone.contract.pruning import Criterion, Polynomial, Prune
from whetstone.contract.quantization import Activations, Precision, Quantize
from whetstone.contract.search import Search
from whetstone.contract.steps import InputRole
from whetstone.contract.tuning import Quantity, Tune, variants


class NotReady(AppError):
    """The upload has not been inspected yet."""

    code, status = "not_ready", 409
    hint = "Wait until its state is `ready`, for instance with `Prefer: wait=30` when you upload or read it."


class Rejected(AppError):
    """The upload was rejected when it was inspected."""

    code, status = "rejected", 409


class DatasetMismatch(AppError):
    """The dataset does not fit the model's inputs."""

    code, status = "dataset_mismatch", 422
    hint = "Name each array after a model input, one row per sample, with the same type and shape."


class DatasetRequired(AppError):
    """This plan needs a dataset."""

    code, status = "dataset_required", 422


class LabelsRequired(AppError):
    """This order needs labels, and the dataset has none of that kind."""

    code, status = "labels_required", 422
    hint = "Add an array named `labels` (class numbers, or target values for mse) to the dataset."


class ShapeRequired(AppError):
    """A model input has dynamic axes and nothing tells their size."""

    code, status = "shape_required", 422
    hint = "Give `input_shapes` in the job, or a dataset."


class UnknownLayer(AppError):
    """The plan excludes a layer that the model does not have."""

    code, status = "unknown_layer", 422
    hint = "Layer names are in the model's facts, under `layers`."


class TargetUnsupported(AppError):
    """No target of the job can run the model."""

    code, status = "target_unsupported", 422
    hint = "Add a target that can: onnxruntime runs every model that was accepted."


class InvalidPlan(AppError):
    """The passes cannot be run in this order."""

    code, status = "invalid_plan", 422


REFUSALS = (
    NotReady,
    Rejected,
    DatasetMismatch,
    DatasetRequired,
    LabelsRequired,
    ShapeRequired,
    UnknownLayer,
    InvalidPlan,
    PresetMismatch,
)
UNREACHABLE = (TargetUnsupported,)
"""What submitting refuses besides; an estimate tells it of each target."""


def check_job(spec: JobSpec, model: ModelRow, dataset: DatasetRow | None) -> None:
    """Raises one of REFUSALS."""
    for row, what in ((model, "model"), (dataset, "dataset")):
        check_ready(row, what)
    if model.facts is None or (dataset is not None and dataset.facts is None):
        raise NotReady
    facts = None if dataset is None else dataset.facts
    _check_only_built(spec)
    _check_objective(spec, dataset)
    _check_metric(spec, facts)
    preset_for(spec, model.facts, facts)
    for passes in _recipes(spec):
        _check_passes(spec, passes, model.facts, facts)
    if isinstance(spec.plan, Tune):
        _check_tuning(spec.plan, model.facts, facts)


def check_targets(spec: JobSpec, model: ModelFacts) -> None:
    """Raises TargetUnsupported where the original itself runs on none of the targets, as inspection found."""
    refusals = {each.runtime: each for each in model.refusals}
    refused = [refusals.get(target.runtime) for target in spec.targets]
    if all(refused):
        told = (f"{each.runtime}: {each.because} ({', '.join(each.ops)})" for each in dict.fromkeys(refused) if each)
        raise TargetUnsupported("; ".join(told))


def _recipes(spec: JobSpec) -> tuple[tuple[Pass, ...], ...]:
    """Every recipe that the plan names: of one that is varied, each end of what is."""
    match spec.plan:
        case Recipe():
            return (spec.plan.passes,)
        case Search():
            return ((),)
        case Tune():
            return variants(spec.plan)
        case _:
            assert_never(spec.plan)


def _check_passes(spec: JobSpec, passes: tuple[Pass, ...], model: ModelFacts, dataset: DatasetFacts | None) -> None:
    _check_order(passes)
    _check_scales(passes, model)
    _check_layers(passes, model)
    _check_products(passes, model)
    if dataset is None:
        _check_without_data(spec, passes, model)
        return
    _check_fit(model, dataset)
    _check_labels(passes, dataset)
    if any(isinstance(config, Adapt) for config in passes) and Split.TRAIN not in dataset.splits:
        raise DatasetRequired("`adapt` needs samples of the new domain in the train split of the job's dataset.")


def _check_tuning(plan: Tune, model: ModelFacts, dataset: DatasetFacts | None) -> None:
    """What trials are judged by must be there, and no other file may come in by what is varied."""
    for passes in variants(plan):
        if other_models(passes) != other_models(plan.passes) or source_dataset(passes) != source_dataset(plan.passes):
            raise InvalidPlan("A parameter brings in another model or dataset.", hint="Order a job for each of them.")
    if Quantity.VALIDATION_ACCURACY in plan.objectives and (dataset is None or not dataset.classes):
        raise LabelsRequired("The objective `validation_accuracy` needs labels that are class numbers.")
    if Quantity.MACS in plan.objectives and model.macs is None:
        raise InvalidPlan("The model's multiply-accumulates cannot be counted.", hint="Take the objective `latency`.")


def _check_only_built(spec: JobSpec) -> None:
    """Searching and tuning measure on the targets, so one that nothing can be run on takes a recipe."""
    only_built = next((target for target in spec.targets if target.only_built), None)
    if only_built is None or isinstance(spec.plan, Recipe):
        return
    field = FieldProblem(field="targets", message=f"{only_built} is only built, not run")
    raise InvalidPlan(
        f"Nothing can be measured on {only_built}, so a {spec.plan.kind} finds nothing for it.",
        hint="Give a recipe, such as the one that a job for another target came to.",
        errors=(field,),
    )


def _check_objective(spec: JobSpec, dataset: DatasetRow | None) -> None:
    """A gain of accuracy is shown by labels, and only learning passes bring one."""
    if spec.budget.objective is not Objective.ACCURACY:
        return
    if dataset is None or dataset.facts is None or dataset.facts.labels is None:
        raise LabelsRequired("The objective `accuracy` needs a dataset with labels in its test split.")
    if isinstance(spec.plan, Search):
        raise InvalidPlan(
            "A search has nothing that makes a model more accurate.", hint="Give a recipe with `adapt` or `finetune`."
        )


def check_ready(row: ModelRow | DatasetRow | None, what: str) -> None:
    if row is None or row.state == InspectionState.READY:
        return
    if row.state == InspectionState.INSPECTING:
        raise NotReady(f"The {what} {row.id} has not been inspected yet.")
    reason = row.failure.message if row.failure else "unknown"
    raise Rejected(f"The {what} {row.id} was rejected: {reason}", hint=row.failure.hint if row.failure else None)


def _check_order(passes: tuple[Pass, ...]) -> None:
    """Only weights in Q/DQ pairs still learn, and none in integers can be pruned or quantized anew."""
    quantized: Quantize | None = None
    for index, config in enumerate(passes):
        if quantized is not None:
            _check_after(quantized, index, config)
        if isinstance(config, Quantize):
            quantized = config


def _check_after(quantized: Quantize, index: int, config: Pass) -> None:
    """What may follow `quantize`: `simplify`, and `finetune` of the same graph where it can be learned."""
    told = f"Pass {index} ({config.kind}) comes after quantize"
    if isinstance(config, Simplify):
        return
    if not isinstance(config, Finetune):
        raise InvalidPlan(f"{told}.", hint="Put `quantize` after all passes but `simplify` and `finetune`, once.")
    if not quantized.is_static:
        why = f"{told}, which leaves {_left_by(quantized)}: no gradient passes that."
        raise InvalidPlan(why, hint="Put `finetune` before it, or quantize to int8 with static activations.")
    if config.student is not None or config.width is not None:
        raise InvalidPlan(f"{told} and trains another student, which is not quantized.", hint="Put `quantize` last.")


def _left_by(config: Quantize) -> str:
    if config.precision in (Precision.FP16, Precision.BF16):
        return f"{config.precision} weights"
    return "operators that compute in integers" if config.activations is Activations.DYNAMIC else "weights in blocks"


def _check_scales(passes: tuple[Pass, ...], model: ModelFacts) -> None:
    """Scales are learned where there are some: in a model that came with them, or after `quantize`."""
    there = "DequantizeLinear" in model.ops
    for index, config in enumerate(passes):
        there = there or isinstance(config, Quantize)
        if isinstance(config, Finetune) and config.learn_scales and not there:
            raise InvalidPlan(
                f"Pass {index} ({config.kind}) learns scales, and nothing is quantized yet.",
                hint="Put `quantize` (int8, static) before it, or set learn_scales to false.",
            )


def _check_products(passes: tuple[Pass, ...], model: ModelFacts) -> None:
    """Weights in blocks, and smoothing, are for products of matrices."""
    if {"MatMul", "Gemm"} & model.ops.keys():
        return
    for index, config in enumerate(passes):
        if isinstance(config, Quantize) and (config.in_blocks or config.smooth is not None):
            what = "stores the weights of matrix products in blocks" if config.in_blocks else "smooths matrix products"
            raise InvalidPlan(
                f"Pass {index} ({config.kind}) {what}, and the model has no MatMul or Gemm.",
                hint="Quantize to int8 with static activations, without `smooth`.",
            )


def _check_layers(passes: tuple[Pass, ...], model: ModelFacts) -> None:
    known = {name for layer in model.layers for name in (layer.name, layer.weight)}
    for index, config in enumerate(passes):
        unknown = sorted(set(getattr(config, "exclude", ())) - known)
        if unknown:
            field = FieldProblem(field=f"plan/passes/{index}/exclude", message=f"unknown: {', '.join(unknown)}")
            raise UnknownLayer(f"The model has no layer named {unknown[0]!r}.", errors=(field,))
        for op in getattr(config, "exclude_ops", ()):
            if op not in model.ops:
                raise UnknownLayer(f"The model has no {op}.", hint="Its operators are in the model's facts, `ops`.")


def _needs_labels(config: Pass) -> bool:
    """A finetune that is told nothing of labels learns from a teacher where there are none."""
    if isinstance(config, Finetune):
        return config.loss is not None or any(isinstance(term, LabelTerm) for term in config.losses)
    if isinstance(config, Prune):
        return isinstance(config.schedule, Polynomial) or config.criterion is Criterion.TAYLOR
    return False


def other_models(passes: tuple[Pass, ...]) -> dict[InputRole, str]:
    """The teacher and the student that finetune passes name. Raises InvalidPlan for two of a kind."""
    found: dict[InputRole, str] = {}
    for index, config in enumerate(passes):
        if not isinstance(config, Finetune):
            continue
        for role, model_id in ((InputRole.TEACHER, config.teacher), (InputRole.STUDENT, config.student)):
            if model_id is not None and found.setdefault(role, model_id) != model_id:
                raise InvalidPlan(
                    f"Pass {index} names another {role} than an earlier one.",
                    hint="Name one teacher and one student in a job, or order two jobs.",
                )
    return found


def source_dataset(passes: tuple[Pass, ...]) -> str | None:
    """The dataset of the source domain that adapt passes name. Raises InvalidPlan for two different ones."""
    named = {c.method.source for c in passes if isinstance(c, Adapt) and isinstance(c.method, Coral | Mmd)}
    if len(named) > 1:
        raise InvalidPlan("The adapt passes name different sources.", hint="Name one source in a job.")
    return next(iter(named), None)


def check_source(passes: tuple[Pass, ...], model: ModelFacts, source: DatasetRow) -> None:
    """Raises NotReady, Rejected, DatasetMismatch or LabelsRequired unless `adapt` can learn from the source."""
    check_ready(source, "source dataset")
    if source.facts is None:
        raise NotReady
    _check_fit(model, source.facts)
    learners = [c.method.learning for c in passes if isinstance(c, Adapt) and isinstance(c.method, Coral | Mmd)]
    if any(learning.loss is not None for learning in learners) and source.facts.labels is None:
        raise LabelsRequired("`adapt` learns from labels of the source, and that dataset has none.")


def _needs_data(config: Pass, *, calibrated: bool) -> bool:
    if isinstance(config, Adapt):
        return True
    if isinstance(config, Quantize):
        return config.needs_samples if calibrated else config.needs_data
    if isinstance(config, Prune) and config.reconstruct:
        return True
    return _needs_labels(config)


def _check_metric(spec: JobSpec, dataset: DatasetFacts | None) -> None:
    """An accuracy can only be asked for where there are classes to be right about."""
    if spec.budget.min_accuracy is None or (dataset is not None and dataset.classes):
        return
    field = FieldProblem(field="budget/min_accuracy", message="needs a dataset whose labels are class numbers")
    raise LabelsRequired("`min_accuracy` cannot be measured without class labels.", errors=(field,))


def _check_labels(passes: tuple[Pass, ...], dataset: DatasetFacts) -> None:
    learner = next((config for config in passes if _needs_labels(config)), None)
    if learner is not None and dataset.labels is None:
        raise LabelsRequired(f"`{learner.kind}` learns from labels, and the dataset has none.")


def _check_without_data(spec: JobSpec, passes: tuple[Pass, ...], model: ModelFacts) -> None:
    needy = next((config for config in passes if _needs_data(config, calibrated=spec.calibration_id is not None)), None)
    if needy is not None:
        raise DatasetRequired(f"`{needy.kind}` as configured needs a dataset.")
    for tensor in model.inputs:
        if not tensor.dtype.startswith("float"):
            raise DatasetRequired(f"Input {tensor.name!r} is {tensor.dtype}: no inputs can be made up for it.")
        _check_shape_known(spec, tensor)


def _check_shape_known(spec: JobSpec, tensor: TensorFacts) -> None:
    given = spec.input_shapes.get(tensor.name)
    if given is None and any(not isinstance(size, int) for size in tensor.shape[1:]):
        raise ShapeRequired(f"Input {tensor.name!r} has the shape {list(tensor.shape)}.")
    if given is not None and not _fits(tensor.shape, given):
        raise ShapeRequired(f"input_shapes gives {list(given)} for {tensor.name!r}, which is {list(tensor.shape)}.")


def _fits(declared: tuple[int | str | None, ...], given: tuple[int, ...]) -> bool:
    return len(declared) == len(given) and all(
        not isinstance(size, int) or size == actual for size, actual in zip(declared, given, strict=True)
    )


def _check_fit(model: ModelFacts, dataset: DatasetFacts) -> None:
    errors = tuple(_misfits(model, dataset))
    if errors:
        raise DatasetMismatch("; ".join(f"{error.field}: {error.message}" for error in errors[:3]), errors=errors)


def _misfits(model: ModelFacts, dataset: DatasetFacts) -> Iterator[FieldProblem]:
    fields = {field.name: field for field in dataset.fields}
    inputs = {tensor.name: tensor for tensor in model.inputs}
    for name in inputs.keys() - fields.keys():
        yield FieldProblem(field=name, message="the model has this input, the dataset has no such array")
    for name in fields.keys() - inputs.keys():
        yield FieldProblem(field=name, message="the dataset has this array, the model has no such input")
    for name in inputs.keys() & fields.keys():
        tensor, field = inputs[name], fields[name]
        if tensor.shape and isinstance(tensor.shape[0], int) and tensor.shape[0] != 1:
            message = f"the model takes exactly {tensor.shape[0]} samples at once; export it with a dynamic batch or 1"
            yield FieldProblem(field=name, message=message)
        elif tensor.dtype != field.dtype:
            yield FieldProblem(field=name, message=f"the model takes {tensor.dtype}, the dataset has {field.dtype}")
        elif not _fits(tensor.shape[1:], field.shape):
            message = f"the model takes {list(tensor.shape)}, a sample of the dataset is {list(field.shape)}"
            yield FieldProblem(field=name, message=message)
