"""Which preset an order gets: that of the domain it says, or of the one that the model leaves no doubt about."""

from collections.abc import Iterator

from app.core.errors import AppError
from app.datasets.tables import DatasetRow
from app.models.tables import ModelRow
from whetstone.contract.augmentation import (
    Augmentation,
    Cutmix,
    ImageAugmentation,
    Mixup,
    SpecAugment,
    TableAugmentation,
)
from whetstone.contract.datasets import DatasetFacts
from whetstone.contract.jobs import JobSpec, Objective
from whetstone.contract.metrics import Metric
from whetstone.contract.models import ModelFacts, TensorFacts
from whetstone.contract.presets import GENERAL, PRESETS, CustomPreset, Domain, Preset

IMAGE_RANK = 4
COLOURS = 3
TABLE_RANK = 2
SOUND_RANKS = (2, 3)
SPECTROGRAM_RANKS = (3, 4)
TOKENS = "input_ids"
"""What encoders that were exported by their library call their input."""


class PresetMismatch(AppError):
    """The preset does not go with the model or the data."""

    code, status = "preset_mismatch", 422
    hint = "Choose another domain or `general`, or leave the preset out."


def preset_for(spec: JobSpec, model: ModelFacts, dataset: DatasetFacts | None) -> Preset:
    """The domain's data, with the fields that the order sets itself. Raises PresetMismatch."""
    told = spec.preset if isinstance(spec.preset, CustomPreset) else CustomPreset(domain=spec.preset)
    if told.domain is not None:
        _check_domain(told.domain, model)
    base = PRESETS[told.domain or _guessed(model)]
    own = {name: value for name in CustomPreset.model_fields if (value := getattr(told, name)) is not None}
    preset = base.model_copy(update=own | {"domain": base.domain})
    problem = None if preset.metric is None else _problem(preset.metric, spec, model, dataset)
    if problem and told.metric is not None:
        raise PresetMismatch(f"The metric `{told.metric}` {problem}.", hint="Leave the metric out, or choose another.")
    for config in told.augment or ():
        if _input_for(config, model) is None:
            raise PresetMismatch(f"No input of the model has a shape that `{config.kind}` takes.")
    augment = told.augment if told.augment is not None else tuple(_fitting(base.augment, model))
    return preset.model_copy(update={"metric": None if problem else preset.metric, "augment": augment})


def preset_of(spec: JobSpec, model: ModelRow, dataset: DatasetRow | None) -> Preset:
    """The preset of an order that was checked, so that its model has been inspected."""
    return GENERAL if model.facts is None else preset_for(spec, model.facts, dataset.facts if dataset else None)


def _guessed(model: ModelFacts) -> Domain:
    """Only what is certain: a spectrogram looks like a grey image, and a sound like a table."""
    if any(tensor.name == TOKENS and not _is_float(tensor) for tensor in model.inputs):
        return Domain.TEXT
    if len(model.inputs) == 1 and _is_float(model.inputs[0]):
        shape = model.inputs[0].shape
        if len(shape) == IMAGE_RANK and COLOURS in (shape[1], shape[3]):
            return Domain.IMAGE
    return Domain.GENERAL


def _check_domain(domain: Domain, model: ModelFacts) -> None:
    inputs = ", ".join(f"{one.name} {one.dtype} {list(one.shape)}" for one in model.inputs)
    ranks = {len(one.shape) for one in model.inputs if _is_float(one)}
    wrong = {
        Domain.IMAGE: IMAGE_RANK not in ranks and "float input [N, C, H, W]",
        Domain.TEXT: all(map(_is_float, model.inputs)) and "integer input, of tokens or characters",
        Domain.AUDIO: not ranks & {*SOUND_RANKS, *SPECTROGRAM_RANKS}
        and "float input [N, T], [N, C, T] or [N, C, F, T]",
        Domain.TABULAR: max(len(one.shape) for one in model.inputs) > TABLE_RANK and "input [N] or [N, columns] only",
        Domain.GENERAL: False,
    }[domain]
    if wrong:
        raise PresetMismatch(f"The preset `{domain}` is for models with {wrong}; this one takes {inputs}.")


def _problem(metric: Metric, spec: JobSpec, model: ModelFacts, dataset: DatasetFacts | None) -> str | None:
    """Why an order cannot be judged by a metric."""
    if spec.budget.min_accuracy is not None and metric is not Metric.ACCURACY:
        return "cannot be asked for together with `min_accuracy`"
    if metric.needs_labels:
        return _problem_of_labels(metric, model, dataset)
    if spec.budget.objective is Objective.ACCURACY:
        return "does not go with the objective `accuracy`, which is shown by labels"
    shapes = [one.shape for one in model.outputs if _is_float(one)]
    if metric is Metric.AGREEMENT and not any(len(shape) in {0, TABLE_RANK} for shape in shapes):
        return "needs an output of shape [N, classes]"
    if metric is Metric.POSITIONS and not any(not shape or len(shape) > TABLE_RANK for shape in shapes):
        return "needs an output of shape [N, T, classes]"
    return None


def _problem_of_labels(metric: Metric, model: ModelFacts, dataset: DatasetFacts | None) -> str | None:
    if dataset is None or dataset.labels is None:
        return "needs a dataset with labels"
    if metric is Metric.MSE:
        return "needs labels that are floating point" if dataset.classes is not None else None
    if dataset.classes is None:
        return "needs labels that are class numbers"
    if metric.is_binary and (dataset.classes > 2 or not any(map(_is_one_number, model.outputs))):  # noqa: PLR2004 - yes and no
        return "needs labels 0 and 1, and an output of one number for each sample"
    return None


def _is_one_number(output: TensorFacts) -> bool:
    return _is_float(output) and all(size == 1 for size in output.shape[1:])


def _is_float(tensor: TensorFacts) -> bool:
    return tensor.dtype.startswith(("float", "bfloat"))


def _fitting(augment: tuple[Augmentation, ...], model: ModelFacts) -> Iterator[Augmentation]:
    """Those that the model has an input for, which is named where there are several."""
    for config in augment:
        tensor = _input_for(config, model)
        if tensor is None or (isinstance(config, SpecAugment) and len(tensor.shape) < max(SPECTROGRAM_RANKS)):
            continue  # of rank 3, a sound of several channels is as likely as a spectrogram
        yield config if len(model.inputs) == 1 else config.model_copy(update={"input": tensor.name})


def _input_for(config: Augmentation, model: ModelFacts) -> TensorFacts | None:
    floats = [one for one in model.inputs if _is_float(one)]
    if isinstance(config, Mixup):
        return floats[0] if len(floats) == len(model.inputs) else None
    wanted = getattr(config, "input", None)
    ranks = _ranks(config)
    return next((one for one in floats if len(one.shape) in ranks and wanted in {None, one.name}), None)


def _ranks(config: Augmentation) -> tuple[int, ...]:
    if isinstance(config, ImageAugmentation | Cutmix):
        return (IMAGE_RANK,)
    if isinstance(config, TableAugmentation):
        return (TABLE_RANK,)
    return SPECTROGRAM_RANKS if isinstance(config, SpecAugment) else SOUND_RANKS
