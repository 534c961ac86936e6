"""Which of the toolkits that are built may be used here."""

import os
from enum import StrEnum

from whetstone.contract.toolkits import Toolkit
from workers.engine.toolkits import jail
from workers.engine.toolkits.catalogue import facts_of
from workers.engine.toolkits.environments import built

VARIABLE = "WHETSTONE_WORKER_TORCH_ARCHIVES"


class TorchArchives(StrEnum):
    """Where archives of PyTorch are read: loading one can run code in it, whatever is looked at before."""

    CONFINED = "confined"
    ANYWHERE = "anywhere"
    NEVER = "never"


def policy() -> TorchArchives:
    """Raises ValueError for another word."""
    return TorchArchives(os.environ.get(VARIABLE) or TorchArchives.CONFINED)


def why_not(toolkit: Toolkit) -> str | None:
    """Why a toolkit that is built is not offered; None where it is."""
    if not facts_of(toolkit).shut_in or policy() is TorchArchives.ANYWHERE:
        return None
    if policy() is TorchArchives.NEVER:
        return f"{VARIABLE} is never"
    degraded = jail.why_not()
    return None if degraded is None else f"it cannot be shut in here ({degraded}); {VARIABLE} is confined"


def offered() -> tuple[Toolkit, ...]:
    return tuple(toolkit for toolkit in built() if why_not(toolkit) is None)
