"""Whether a dataset goes with a model."""

from whetstone.contract.datasets import DatasetFacts, FieldFacts
from whetstone.contract.models import TensorFacts
from whetstone.contract.steps import InputRole
from workers.engine.data.errors import DatasetMismatch
from workers.engine.data.samples import Samples, open_dataset
from workers.engine.request import Request


def _check_shape(wanted: TensorFacts, field: FieldFacts) -> None:
    sample = wanted.shape[1:]
    if not wanted.shape:
        raise DatasetMismatch(f"Input '{wanted.name}' is a single number; only inputs with a batch axis can be fed.")
    if len(sample) != len(field.shape):
        raise DatasetMismatch(
            f"Field '{field.name}' has samples of shape {list(field.shape)}; the model takes {list(sample)}."
        )
    for axis, (size, have) in enumerate(zip(sample, field.shape, strict=True), 1):
        if isinstance(size, int) and size != have:
            raise DatasetMismatch(f"Field '{field.name}' has {have} along axis {axis}; the model takes {size}.")
    if isinstance(wanted.shape[0], int) and wanted.shape[0] != 1:
        raise DatasetMismatch(
            f"Input '{wanted.name}' takes exactly {wanted.shape[0]} samples at once.",
            hint="Export the model with a dynamic batch axis, or with batch 1.",
        )


def check_fit(dataset: DatasetFacts, inputs: tuple[TensorFacts, ...]) -> None:
    """Raises DatasetMismatch, naming the field, unless every input has a field of its type and shape and vice versa.

    Samples are stacked along axis 0, so a sample's shape is the input's without that axis.
    """
    fields = {field.name: field for field in dataset.fields}
    for wanted in inputs:
        field = fields.pop(wanted.name, None)
        if field is None:
            have = ", ".join(f"'{name}'" for name in fields) or "none"
            raise DatasetMismatch(f"The model's input '{wanted.name}' is not in the dataset (other fields: {have}).")
        if field.dtype != wanted.dtype:
            raise DatasetMismatch(
                f"Field '{field.name}' is {field.dtype}; the model takes {wanted.dtype}.",
                hint=f"Save it with .astype('{wanted.dtype}').",
            )
        _check_shape(wanted, field)
    if fields:
        raise DatasetMismatch(f"Field '{next(iter(fields))}' of the dataset is no input of the model.")


def fixed_at_one(inputs: tuple[TensorFacts, ...]) -> bool:
    """Whether the model takes one sample at a time."""
    return any(facts.shape[:1] == (1,) for facts in inputs)


def fitting_samples(
    request: Request, inputs: tuple[TensorFacts, ...], role: InputRole = InputRole.DATASET
) -> Samples | None:
    """The step's dataset opened, None if it has none. Raises InvalidDataset, DatasetMismatch."""
    samples = given_samples(request, role)
    if samples is not None:
        check_fit(samples.facts(), inputs)
    return samples


def given_samples(request: Request, role: InputRole = InputRole.DATASET) -> Samples | None:
    """The step's dataset opened, whatever it fits. Raises InvalidDataset."""
    path = request.inputs.get(role)
    return None if path is None else open_dataset(path, request.scratch, request.preprocessing.get(role))
