"""Matrix products."""

import torch
from torch import Tensor

from workers.engine.graph.ops.node import Node, op


def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Compute alpha · A · B + beta · C, either operand transposed if asked for."""
    a = a.T if node.get("transA", 0) else a
    b = b.T if node.get("transB", 0) else b
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if c is not None and a.is_floating_point():
        return torch.addmm(c, a, b, beta=beta, alpha=alpha)
    product = a @ b if alpha == 1 else (alpha * (a @ b)).to(a.dtype)
    return product if c is None else product + (c if beta == 1 else (beta * c).to(c.dtype))


LINEAR = {
    "Gemm": op(gemm, learned=[1, 2]),
    "MatMul": op(lambda _, a, b: torch.matmul(a, b), learned=[0, 1]),
}
