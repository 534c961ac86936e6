"""Loads under which original and result are measured beside the usual comparison, after MLPerf's scenarios."""

from typing import Annotated, Literal

from pydantic import Field

from whetstone.contract.types import Contract

MOST = 8
"""Scenarios of one job."""

Threads = Annotated[int, Field(ge=1, le=256)]


class SingleStream(Contract):
    """One call after the other, at several numbers of threads."""

    kind: Literal["single_stream"] = "single_stream"
    threads: Annotated[tuple[Threads, ...], Field(min_length=1, max_length=8)] = (1,)


class MultiStream(Contract):
    """So many processes at once, each with one call after the other on its own share of the cores."""

    kind: Literal["multi_stream"] = "multi_stream"
    processes: Annotated[int, Field(ge=2, le=32)] = 2


class Server(Contract):
    """Calls that arrive at random (Poisson), `rate` of them a second, and wait for each other in one queue.

    Valid where it can be claimed, with 99 % confidence, that `percent` of them are done within `latency_ms` of their
    arrival.
    """

    kind: Literal["server"] = "server"
    rate: Annotated[float, Field(gt=0, le=10_000)]
    latency_ms: Annotated[float, Field(gt=0, le=60_000)]
    percent: Annotated[float, Field(ge=50, le=99.9)] = 99


class Offline(Contract):
    """All samples are there from the start: batches of 1, 2, 4, … until twice the batch gives little more a second."""

    kind: Literal["offline"] = "offline"
    max_batch: Annotated[int, Field(ge=1, le=4096)] = 256


Scenario = Annotated[SingleStream | MultiStream | Server | Offline, Field(discriminator="kind")]
