"""One weight as a product of thin ones: by how many multiplications it pays, and what the parts are."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from whetstone.contract.factorization import Spatial
from workers.engine.graph.graph import Array

Values = NDArray[np.float64]

CONV_RANK = 4


@dataclass(frozen=True)
class Part:
    """One of the thin layers: its weight, in the layout of the original; for kernels, the axes it is wide in."""

    weight: Array
    window: tuple[bool, bool] = (False, False)


@dataclass(frozen=True)
class Plan:
    """How to split a weight for a kept share of its energy: the parts, which are made when called, and their cost as
    a share of the original's.
    """

    parts: Callable[[], tuple[Part, ...]]
    ranks: tuple[int, ...]
    cost: float


def rank_for(singular: Values, energy: float, round_to: int, smallest: int = 1) -> int:
    """The least rank whose squared singular values are `energy` of all, raised to a multiple of `round_to`."""
    squares = np.cumsum(np.square(singular))
    rank = int(np.searchsorted(squares, energy * squares[-1] * (1 - 1e-12))) + 1
    rank = -(-max(rank, smallest) // round_to) * round_to
    return min(rank, len(singular))


def _halves(u: Values, s: Values, v: Values, rank: int) -> tuple[Values, Values]:
    """Both factors of the truncated product, with the singular values shared between them."""
    root = np.sqrt(s[:rank])
    return u[:, :rank] * root, root[:, None] * v[:rank]


def matrix_plans(weight: Array, *, transposed: bool) -> Callable[[float, int], Plan]:
    """Of a matrix [in, out], or [out, in] if `transposed`: parts [in, r] and [r, out] in the same layout."""
    wide = weight.astype(np.float64)
    u, s, v = np.linalg.svd(wide.T if transposed else wide, full_matrices=False)

    def plan(energy: float, round_to: int) -> Plan:
        rank = rank_for(s, energy, round_to)

        def parts() -> tuple[Part, ...]:
            halves = _halves(u, s, v, rank)
            return tuple(Part((half.T if transposed else half).astype(np.float32)) for half in halves)

        return Plan(parts, (rank,), rank * sum(wide.shape) / wide.size)

    return plan


def conv_plans(weight: Array, spatial: Spatial, strides: tuple[int, int]) -> Callable[[float, int], Plan]:
    """Of a kernel [out, in, h, w]; 1 × 1 kernels are matrices whatever `spatial` says."""
    pointwise = weight.shape[2:] == (1, 1)
    if spatial is Spatial.TUCKER and not pointwise:
        return _tucker_plans(weight, strides)
    if spatial is Spatial.SEPARABLE and not pointwise:
        return _separable_plans(weight, strides)
    return _channel_plans(weight)


def _channel_plans(weight: Array) -> Callable[[float, int], Plan]:
    """[out, in · h · w]: the window to r channels, then 1 × 1."""
    out, *rest = weight.shape
    u, s, v = np.linalg.svd(weight.astype(np.float64).reshape(out, -1), full_matrices=False)

    def plan(energy: float, round_to: int) -> Plan:
        rank = rank_for(s, energy, round_to)

        def parts() -> tuple[Part, ...]:
            left, right = _halves(u, s, v, rank)
            first = Part(right.reshape(rank, *rest).astype(np.float32), (True, True))
            return first, Part(left.reshape(out, rank, 1, 1).astype(np.float32))

        return Plan(parts, (rank,), rank * (prod(rest) + out) / weight.size)

    return plan


def _separable_plans(weight: Array, strides: tuple[int, int]) -> Callable[[float, int], Plan]:
    """[in · h, out · w] (Jaderberg et al. 2014, scheme 2): h × 1 to r channels, then 1 × w."""
    out, into, height, width = weight.shape
    matrix = weight.astype(np.float64).transpose(1, 2, 0, 3).reshape(into * height, out * width)
    u, s, v = np.linalg.svd(matrix, full_matrices=False)

    def plan(energy: float, round_to: int) -> Plan:
        rank = rank_for(s, energy, round_to)

        def parts() -> tuple[Part, ...]:
            left, right = _halves(u, s, v, rank)
            first = left.reshape(into, height, rank).transpose(2, 0, 1)[..., None]
            second = right.reshape(rank, out, width).transpose(1, 0, 2)[:, :, None]
            return Part(first.astype(np.float32), (True, False)), Part(second.astype(np.float32), (False, True))

        # the first part has not yet been strided across
        cost = rank * (into * height * strides[1] + out * width) / weight.size
        return Plan(parts, (rank,), cost)

    return plan


def _tucker_plans(weight: Array, strides: tuple[int, int]) -> Callable[[float, int], Plan]:
    """Tucker-2 by the higher-order SVD (Kim et al. 2016): 1 × 1, the window between few channels, 1 × 1."""
    wide = weight.astype(np.float64)
    out, into, *window = wide.shape
    u_out, s_out, _ = np.linalg.svd(wide.reshape(out, -1), full_matrices=False)
    u_in, s_in, _ = np.linalg.svd(wide.transpose(1, 0, 2, 3).reshape(into, -1), full_matrices=False)

    def plan(energy: float, round_to: int) -> Plan:
        ranks = rank_for(s_out, energy, round_to), rank_for(s_in, energy, round_to)

        def parts() -> tuple[Part, ...]:
            left, right = u_out[:, : ranks[0]], u_in[:, : ranks[1]]
            core = np.einsum("oihw,or,is->rshw", wide, left, right, optimize=True)
            return (
                Part(right.T[:, :, None, None].astype(np.float32)),
                Part(core.astype(np.float32), (True, True)),
                Part(left[:, :, None, None].astype(np.float32)),
            )

        # the first part sees every place of the input
        cost = (ranks[1] * into * prod(strides) + prod(ranks) * prod(window) + out * ranks[0]) / weight.size
        return Plan(parts, ranks, cost)

    return plan
