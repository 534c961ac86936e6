"""What is known of an uploaded dataset."""

from datetime import datetime
from enum import StrEnum

from whetstone.contract.failures import Failure
from whetstone.contract.labels import Labels
from whetstone.contract.models import InspectionState
from whetstone.contract.preprocessing import Preprocessing
from whetstone.contract.statistics import StatisticsFacts
from whetstone.contract.types import Bytes, Contract, Count, DatasetRef, Sha256


class Split(StrEnum):
    TRAIN = "train"
    CALIBRATION = "calibration"
    TEST = "test"


class FieldFacts(Contract):
    """One array of a dataset; `shape` is that of one sample, without the sample axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class DatasetFacts(Contract):
    """Read from the file. `classes` is the number of distinct labels when labels are integers; `class_names` what they
    stand for, in the order of the integers, where labels were given by name. `statistics` where the file holds no
    samples but what was measured on them.
    """

    format: str
    fields: tuple[FieldFacts, ...]
    labels: FieldFacts | None
    classes: int | None
    class_names: tuple[str, ...] = ()
    splits: dict[Split, int]
    made_splits: bool
    samples: Count
    statistics: StatisticsFacts | None = None


class DatasetRead(Contract):
    """A dataset as the API shows it. `preprocessing` is what was declared at its upload; an .npz or .h5 needs none."""

    id: DatasetRef
    name: str
    filename: str
    size: Bytes
    sha256: Sha256
    preprocessing: Preprocessing | None = None
    labels: Labels = {}
    state: InspectionState
    facts: DatasetFacts | None
    failure: Failure | None
    created_at: datetime
