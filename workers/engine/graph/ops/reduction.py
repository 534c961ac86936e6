"""Reductions over axes, which are an attribute before opset 18 and an input after."""

from collections.abc import Callable

import torch
from torch import Tensor

from workers.engine.graph.ops.node import Node, Op, op


def _reduction(reduce: Callable[[Tensor, list[int], bool], Tensor]) -> Op:
    def run(node: Node, x: Tensor, given: list[int] | None = None) -> Tensor:
        axes = given if given is not None else node.get("axes", None)
        if not axes and node.get("noop_with_empty_axes", 0):
            return x
        return reduce(x, axes or list(range(x.dim())), bool(node.get("keepdims", 1)))

    return op(run, sizes=[1])


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001 - as the table calls it
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def arg_max(node: Node, x: Tensor) -> Tensor:
    return x.argmax(node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


REDUCTIONS = {
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": _reduction(_product),
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "ReduceLogSumExp": _reduction(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
    "ArgMax": op(arg_max),
}
