"""Reductions over axes, which are an attribute before opset 18 (ReduceSum: 13) and an input after."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from workers.engine.graph.ops.node import Node, Op, op

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(reduce: Reduce, single: Callable[[Tensor], Tensor] | None = None) -> Op:
    """`single` is what a reduction over no axes does to each value (by default nothing)."""

    def run(node: Node, x: Tensor, given: list[int] | None = None) -> Tensor:
        axes = given if given is not None else node.get("axes", None)
        if not axes and node.get("noop_with_empty_axes", 0):
            return x if single is None else single(x)
        return reduce(x, axes or list(range(x.dim())), bool(node.get("keepdims", 1)))

    return op(run, sizes=[1])


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001 - as the table calls it
    return x.sum(axes, keepdim=keep).to(x.dtype)


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001
    dtype = x.dtype
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x.to(dtype)


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    return x.double().mean(axes, keepdim=keep).trunc().to(x.dtype)


def _extreme(run: Reduce, *, largest: bool) -> Reduce:
    """The largest or smallest; of nothing it is the type's lowest or highest value."""

    def reduce(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001
        if x.dtype == torch.bool:
            return reduce(x.to(torch.uint8), axes, keep).bool()
        if x.numel():
            return run(x, axes, keep)
        for axis in axes:
            x = x.narrow(axis, 0, 0)
        shape = [1 if axis in {a % x.dim() for a in axes} else size for axis, size in enumerate(x.shape)]
        infinity = -math.inf if largest else math.inf
        limits = torch.iinfo(x.dtype) if not x.is_floating_point() else None
        fill = infinity if limits is None else limits.min if largest else limits.max
        made = torch.full(shape, fill, dtype=x.dtype, device=x.device)
        return made if keep else made.squeeze(axes)

    return reduce


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001
    return x.sum(axes, keepdim=keep).log()


def _log_sum_exp(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001
    return x.logsumexp(axes, keepdim=keep)


def _norm(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001
    wide = x if x.is_floating_point() else x.double()
    made: Tensor = torch.linalg.vector_norm(wide, dim=axes, keepdim=keep)
    return made.to(x.dtype)


def _arg(node: Node, x: Tensor, run: Callable[..., Tensor]) -> Tensor:
    """The position of the first extreme value, or of the last where `select_last_index`."""
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
    if node.get("select_last_index", 0):
        last: Tensor = x.shape[axis] - 1 - run(x.flip(axis), axis, keepdim=keep)
        return last
    return run(x, axis, keepdim=keep)


REDUCTIONS = {
    "ReduceMean": _reduction(_mean),
    "ReduceSum": _reduction(_sum),
    "ReduceMax": _reduction(_extreme(lambda x, axes, keep: x.amax(axes, keepdim=keep), largest=True)),
    "ReduceMin": _reduction(_extreme(lambda x, axes, keep: x.amin(axes, keepdim=keep), largest=False)),
    "ReduceProd": _reduction(_product),
    "ReduceL1": _reduction(lambda x, axes, keep: _sum(x.abs(), axes, keep), torch.abs),
    "ReduceL2": _reduction(_norm, torch.abs),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: _sum(x.square(), axes, keep), torch.square),
    "ReduceLogSum": _reduction(_log_sum, torch.log),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ArgMax": op(lambda node, x: _arg(node, x, torch.argmax), smooth=False),
    "ArgMin": op(lambda node, x: _arg(node, x, torch.argmin), smooth=False),
}
