"""Augmentation of tables [N, F]."""

from typing import assert_never

import torch
from torch import Tensor

from whetstone.contract.augmentation import FeatureDrop, TableAugmentation, TabularNoise


def augment_table(config: TableAugmentation, rows: Tensor) -> Tensor:
    """Rows of the same shape; the spread of a column is its standard deviation within the batch."""
    match config:
        case TabularNoise():
            return rows + torch.randn_like(rows) * rows.std(0, correction=0) * config.deviation
        case FeatureDrop():
            return rows.masked_fill(torch.rand_like(rows) < config.probability, config.fill)
        case _:
            assert_never(config)
