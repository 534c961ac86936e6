"""Whetstone sharpens trained models: the client and the command line.

What is named here is loaded when it is first used, so that the service, which shares the contract, loads no client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whetstone.aio.client import AsyncClient
    from whetstone.client import Client
    from whetstone.contract.adaptation import Adapt
    from whetstone.contract.jobs import Assurance, Budget, JobSpec, Measurement, Objective, Recipe
    from whetstone.contract.learning import Finetune
    from whetstone.contract.passes import Simplify
    from whetstone.contract.pruning import Prune
    from whetstone.contract.quantization import Quantize
    from whetstone.contract.search import Limit, Search
    from whetstone.contract.targets import Target

__all__ = [
    "Adapt",
    "Assurance",
    "AsyncClient",
    "Budget",
    "Client",
    "Finetune",
    "JobSpec",
    "Limit",
    "Measurement",
    "Objective",
    "Prune",
    "Quantize",
    "Recipe",
    "Search",
    "Simplify",
    "Target",
]

_HOMES = {"Adapt": "contract.adaptation", "AsyncClient": "aio.client", "Client": "client", "Target": "contract.targets"}
_HOMES |= {"Limit": "contract.search", "Search": "contract.search"}
_HOMES |= {"Finetune": "contract.learning", "Prune": "contract.pruning"}
_HOMES |= {"Quantize": "contract.quantization", "Simplify": "contract.passes"}
_HOMES |= dict.fromkeys(("Assurance", "Budget", "JobSpec", "Measurement", "Objective", "Recipe"), "contract.jobs")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'whetstone' has no attribute {name!r}")
    return getattr(import_module(f"whetstone.{_HOMES[name]}"), name)
