"""Whetstone sharpens trained models: the client and the command line."""

from whetstone.client import Client
from whetstone.contract.jobs import Assurance, Budget, JobSpec, Measurement, Objective, Recipe
from whetstone.contract.passes import (
    Activations,
    EarlyStopping,
    Finetune,
    Learning,
    Polynomial,
    Prune,
    Quantize,
    Simplify,
)
from whetstone.contract.targets import Target

__all__ = [
    "Activations",
    "Assurance",
    "Budget",
    "Client",
    "EarlyStopping",
    "Finetune",
    "JobSpec",
    "Learning",
    "Measurement",
    "Objective",
    "Polynomial",
    "Prune",
    "Quantize",
    "Recipe",
    "Simplify",
    "Target",
]
