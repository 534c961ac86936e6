"""Attention of opset 23 and later, its linear kin, and what comes with them."""

import math

import numpy as np
import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own convention

from workers.engine.graph.ops.node import Node, op
from workers.engine.graph.ops.values import TORCH_TYPES

PACKED = 3
"""Rank of inputs whose heads are packed in the last axis."""


def _heads(x: Tensor, count: int | None) -> Tensor:
    """[N, T, H·D] → [N, H, T, D]; four axes are left as they are."""
    if x.dim() != PACKED or count is None:
        return x
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def _merged(x: Tensor) -> Tensor:
    """[N, H, T, D] → [N, T, H·D]."""
    return x.transpose(1, 2).flatten(2)


def _offset(q: Tensor, past: Tensor | None, valid: Tensor | None) -> Tensor:
    """How many keys come before the first query, per sample: [N or 1, 1, 1, 1]."""
    if past is not None:
        return torch.tensor(past.shape[2], device=q.device).reshape(1, 1, 1, 1)
    if valid is not None:
        return (valid - q.shape[2]).reshape(-1, 1, 1, 1)
    return torch.zeros(1, 1, 1, 1, dtype=torch.int64, device=q.device)


def _allowed(node: Node, q: Tensor, keys: int, past: Tensor | None, valid: Tensor | None) -> Tensor | None:
    """Which keys each query may see, by causality, window and padding; None if all."""
    causal, left, right = node.get("is_causal", 0), node.get("left_window_size", -1), node.get("right_window_size", -1)
    if not causal and left < 0 and right < 0 and valid is None:
        return None
    key = torch.arange(keys, device=q.device)
    query = torch.arange(q.shape[2], device=q.device).reshape(-1, 1) + _offset(q, past, valid)
    seen = torch.ones_like(query >= key)
    seen = seen & (key <= query) if causal else seen
    seen = seen & (key >= query - left) if left >= 0 else seen
    seen = seen & (key <= query + right) if right >= 0 else seen
    return seen if valid is None else seen & (key < valid.reshape(-1, 1, 1, 1))


def _bias(mask: Tensor | None, allowed: Tensor | None, q: Tensor, keys: int) -> Tensor | None:
    """What is added to the logits: the mask (short ones padded), and minus infinity where a key is not to be seen."""
    bias = None
    if mask is not None:
        is_bool = mask.dtype == torch.bool
        bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -math.inf) if is_bool else mask
        bias = F.pad(bias, (0, keys - mask.shape[-1]), value=-math.inf)
    if allowed is None:
        return bias
    hidden = torch.zeros(allowed.shape, dtype=q.dtype, device=q.device).masked_fill(~allowed, -math.inf)
    return hidden if bias is None else bias + hidden


def _softmax(node: Node, logits: Tensor, bias: Tensor | None) -> Tensor:
    """A query that sees no key attends to nothing: zeros, not NaN, and no gradient."""
    kind = node.get("softmax_precision", 0)
    dtype = TORCH_TYPES[np.dtype(helper.tensor_dtype_to_np_dtype(kind))] if kind else logits.dtype
    if bias is None:
        return torch.softmax(logits.to(dtype), -1)
    blind = bias.amax(-1, keepdim=True) == -math.inf
    return torch.softmax(logits.to(dtype).masked_fill(blind, 0), -1).masked_fill(blind, 0)


def attention(
    node: Node,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_k: Tensor | None = None,
    past_v: Tensor | None = None,
    valid: Tensor | None = None,
) -> tuple[Tensor, ...]:
    is_packed = q.dim() == PACKED
    q, k, v = _heads(q, node.get("q_num_heads", None)), *(_heads(x, node.get("kv_num_heads", None)) for x in (k, v))
    k = k if past_k is None else torch.cat([past_k, k], 2)
    v = v if past_v is None else torch.cat([past_v, v], 2)
    present, groups = (k, v), q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (k, v))
    bias = _bias(mask, _allowed(node, q, k.shape[2], past_k, valid), q, k.shape[2])
    if (
        len(node.outputs) <= PACKED
        and bias is None
        and not node.get("softcap", 0)
        and not node.get("softmax_precision", 0)
    ):
        y, shown = F.scaled_dot_product_attention(q, k, v, scale=node.get("scale", None)), None
    else:
        y, shown = _spelled_out(node, q, k, v, bias)
    y = _merged(y) if is_packed else y
    return (y, *present) if shown is None else (y, *present, shown)


def _spelled_out(node: Node, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The result, and the stage of the logits that `qk_matmul_output_mode` asks for."""
    scale = math.sqrt(node.get("scale", 1 / math.sqrt(q.shape[-1])))
    logits = (q * scale) @ (k * scale).transpose(-1, -2)
    stages, cap = [logits], node.get("softcap", 0.0)
    logits = cap * torch.tanh(logits / cap) if cap else logits
    stages.append(logits)
    logits = logits if bias is None else logits + bias
    stages.append(logits)
    weights = _softmax(node, logits, bias).to(q.dtype)
    stages.append(weights)
    return weights @ v, stages[node.get("qk_matmul_output_mode", 0)]


def rotary_embedding(node: Node, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
    """Su et al. 2021. Of [N, H, T, D] or packed x the first `rotary_embedding_dim` numbers of each head are turned."""
    heads = _heads(x, node.get("num_heads", None))
    size = node.get("rotary_embedding_dim", 0) or heads.shape[-1]
    cos, sin = (v if positions is None else v[positions.long()] for v in (cos, sin))
    cos, sin = (v.unsqueeze(1)[..., : size // 2] for v in (cos, sin))
    turning, rest = heads[..., :size], heads[..., size:]
    if node.get("interleaved", 0):
        a, b = turning[..., 0::2], turning[..., 1::2]
        turned = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    else:
        a, b = turning.chunk(2, -1)
        turned = torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
    made = torch.cat([turned, rest], -1)
    return _merged(made) if x.dim() == PACKED else made


def linear_attention(
    node: Node,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    past: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A state [N, H, Dk, Dv] that each step decays, corrects and adds to (Yang et al. 2024), in float32 or wider."""
    count, queries = node.attributes["kv_num_heads"], node.attributes["q_num_heads"]
    wide = torch.promote_types(q.dtype, torch.float32)
    heads = [_heads(x, n).to(wide) for x, n in ((q, queries), (k, count), (v, count))]
    gates = None if decay is None else _heads(decay, count).to(wide).exp()
    rates = None if beta is None else _heads(beta, beta.shape[-1]).to(wide)
    shape = (q.shape[0], count, heads[1].shape[-1], heads[2].shape[-1])
    state = q.new_zeros(shape, dtype=wide) if past is None else past.to(wide)
    made = []
    for step in range(q.shape[1]):
        query, key, value = (x[:, :, step] for x in heads)
        state = state if gates is None else state * gates[:, :, step].unsqueeze(-1)
        if rates is not None:
            value = rates[:, :, step] * (value - torch.einsum("bhdm,bhd->bhm", state, key))
        state = state + key.unsqueeze(-1) * value.unsqueeze(-2)
        made.append(torch.einsum("bhd,bhdm->bhm", query, state.repeat_interleave(queries // count, 1)))
    scale = node.get("scale", 0.0) or 1 / math.sqrt(heads[1].shape[-1])
    return _merged(torch.stack(made, 2) * scale).to(q.dtype), state.to(q.dtype if past is None else past.dtype)


def causal_conv(
    node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None, past: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A depthwise convolution over x [N, C, L] that sees only what came before, `past` [N, C, k - 1] first."""
    reach = weight.shape[2] - 1
    padded = torch.cat([x.new_zeros(*x.shape[:2], reach) if past is None else past, x], 2)
    made = F.conv1d(padded, weight, bias, groups=x.shape[1])
    made = F.silu(made) if node.get("activation", "none") in ("silu", "swish") else made
    return made, padded[:, :, padded.shape[2] - reach :]


ATTENTION = {
    "Attention": op(attention),
    "RotaryEmbedding": op(rotary_embedding),
    "LinearAttention": op(linear_attention),
    "CausalConvWithState": op(causal_conv, learned=[1, 2]),
}
