"""Reading a file of calibration statistics: JSON, every number of it checked by the contract."""

from pathlib import Path

from pydantic import ValidationError

from whetstone.contract.datasets import DatasetFacts, FieldFacts
from whetstone.contract.statistics import CalibrationStatistics, StatisticsFacts
from workers.engine.data.errors import InvalidDataset

MAX_BYTES = 512 * 2**20
HINT = "Write it with `whet calibrate`, and upload it as it is."


def read_statistics(path: Path) -> CalibrationStatistics:
    """Raises InvalidDataset, naming the field: all are finite, in order, and each tensor comes once."""
    if path.stat().st_size > MAX_BYTES:
        raise InvalidDataset(f"The statistics are larger than {MAX_BYTES} bytes.", hint=HINT)
    try:
        return CalibrationStatistics.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = "/".join(str(part) for part in first["loc"])[:300]
        raise InvalidDataset(f"These are no calibration statistics: {place}: {first['msg']}", hint=HINT) from error


def statistics_facts(found: CalibrationStatistics) -> DatasetFacts:
    """The model's inputs as far as they are float32, and which model it is."""
    shapes = {
        tensor.name: tuple(size for size in (tensor.shape or ())[1:] if isinstance(size, int))
        for tensor in found.tensors
        if tensor.name in found.inputs
    }
    return DatasetFacts(
        format="statistics",
        fields=tuple(FieldFacts(name=name, dtype="float32", shape=shape) for name, shape in shapes.items()),
        labels=None,
        classes=None,
        splits={},
        made_splits=False,
        samples=found.samples,
        statistics=StatisticsFacts(model_sha256=found.model_sha256, tensors=len(found.tensors)),
    )
