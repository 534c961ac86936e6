"""What is known of an uploaded model."""

from datetime import datetime
from enum import StrEnum

from whetstone.contract.failures import Failure
from whetstone.contract.labels import Labels
from whetstone.contract.types import Bytes, Contract, Count, Fraction, ModelRef, Sha256


class InspectionState(StrEnum):
    """The life of an upload: looked into by a worker, then usable or refused."""

    INSPECTING = "inspecting"
    READY = "ready"
    REJECTED = "rejected"


class TensorFacts(Contract):
    """A graph input or output. A dimension is a number, a name (dynamic), or None (unknown)."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class LayerFacts(Contract):
    """A node that holds weights: its op, its parameters and, where shapes are known, its multiply-accumulates."""

    name: str
    op: str
    weight: str
    shape: tuple[int, ...]
    params: Count
    macs: Count | None


class Refusal(Contract):
    """A runtime that cannot run the model: why, and the operators it does not know (with their domain)."""

    runtime: str
    because: str
    ops: tuple[str, ...] = ()


class Imported(Contract):
    """A model that came in another form than ONNX: what it was, and how the import fared against it.

    Both were run on the same `samples` random rows, the source by its own framework; `same` is the share of rows whose
    outputs agree up to rounding, `max_abs_error` the largest difference of any. Labels of a dataset are positions in
    the source's list of classes.
    """

    source: str
    samples: Count
    same: Fraction
    max_abs_error: float


class ModelFacts(Contract):
    """Read from the graph. `macs` counts multiply-accumulates at batch 1; None where shapes are not known. A model that
    onnxruntime cannot run is rejected; `refusals` are those of the other runtimes.
    """

    format: str
    producer: str
    ir_version: int
    opset: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    params: Count
    macs: Count | None
    nodes: Count
    ops: dict[str, int]
    layers: tuple[LayerFacts, ...]
    refusals: tuple[Refusal, ...] = ()
    imported: Imported | None = None


class ModelRead(Contract):
    """A model as the API shows it. `facts` when ready, `failure` when rejected."""

    id: ModelRef
    name: str
    filename: str
    size: Bytes
    sha256: Sha256
    labels: Labels = {}
    state: InspectionState
    facts: ModelFacts | None
    failure: Failure | None
    created_at: datetime
