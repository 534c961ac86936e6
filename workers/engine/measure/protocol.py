"""What the measuring process and the measured process say to each other: one JSON object a line."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from whetstone.contract.failures import Failure
from whetstone.contract.reports import OperatorTime
from whetstone.contract.targets import AS_USUAL, RuntimeSettings, Target
from whetstone.contract.types import Bytes, Contract, Milliseconds


class Load(Contract):
    """Load the artifact and put the inputs in place. `inputs` are .npy files by tensor name, `cores` where to run."""

    do: Literal["load"] = "load"
    target: Target
    settings: RuntimeSettings = AS_USUAL
    artifact: Path
    inputs: dict[str, Path]
    cores: tuple[int, ...]
    scratch: Path


class Burst(Contract):
    """Run `settle` times untimed, then `runs` times timed."""

    do: Literal["burst"] = "burst"
    runs: Annotated[int, Field(ge=1)]
    settle: Annotated[int, Field(ge=0)] = 0


class Stream(Contract):
    """Run one call after the other for so long, each timed."""

    do: Literal["stream"] = "stream"
    seconds: Annotated[float, Field(gt=0)]


class Serve(Contract):
    """Run a call for each arrival, in nanoseconds from now and in order; give up those not begun by `patience_ns`."""

    do: Literal["serve"] = "serve"
    arrivals_ns: Annotated[tuple[int, ...], Field(min_length=1)]
    patience_ns: int


class Close(Contract):
    """Tell what is left to tell, and end. After this the process is no longer in the state it was timed in."""

    do: Literal["close"] = "close"


Command = Annotated[Load | Burst | Stream | Serve | Close, Field(discriminator="do")]


class Loaded(Contract):
    said: Literal["loaded"] = "loaded"
    cold_load_ms: Milliseconds


class Timed(Contract):
    """`peak_memory` is that of the process so far."""

    said: Literal["timed"] = "timed"
    times_ns: tuple[int, ...]
    peak_memory: Bytes


class Closed(Contract):
    """`peak_memory` is that of the process with this runtime and model alone, before loading a second time."""

    said: Literal["closed"] = "closed"
    peak_memory: Bytes
    warm_load_ms: Milliseconds
    operators: tuple[OperatorTime, ...]


class Refused(Contract):
    said: Literal["refused"] = "refused"
    failure: Failure


Answer = Annotated[Loaded | Timed | Closed | Refused, Field(discriminator="said")]

COMMAND: TypeAdapter[Load | Burst | Stream | Serve | Close] = TypeAdapter(Command)
ANSWER: TypeAdapter[Loaded | Timed | Closed | Refused] = TypeAdapter(Answer)
