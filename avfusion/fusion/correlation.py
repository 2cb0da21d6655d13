"""The correlation of joint cross-attention and its projection: two products with a tanh between them.

The correlation of a batch of 64 sequences has 4 million numbers. As three tensor operations it passes through memory
once for each and twice more for its gradient, half the time of a training step on a CPU. Here it is computed, used and
differentiated a few sequences at a time, within the processor's cache.
"""

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CACHED_BYTES = 2**21


def correlate(
    keys: torch.Tensor, joint: torch.Tensor, weight: torch.Tensor, dropout: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """C = tanh(keysᵀ joint) and W_c Cᵀ (arXiv 2209.09068, equations 6 to 9).

    Args:
        keys: (B, L, d_m).
        joint: (B, L, d).
        weight: W_c (k, d).
        dropout: share of the entries of C that W_c does not see.

    Returns:
        W_c Cᵀ (B, k, d_m), and C (B, d_m, d), whole.
    """
    # An exported graph takes batches of any size, so it has no parts.
    if dropout or torch.compiler.is_compiling():
        correlation = torch.tanh(keys.transpose(1, 2) @ joint)
        kept = F.dropout(correlation, dropout) if dropout else correlation
        return weight @ kept.transpose(1, 2), correlation
    hidden, correlation = _Correlate.apply(keys, joint, weight)
    return hidden, correlation


def tanh_gain(spread: float, std: float) -> float:
    """The factor g for which tanh(g x) has the standard deviation `std`, x being normal with mean 0 and `spread`."""
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2)
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        variance = float((torch.tanh(middle * x) ** 2 * density).sum() / density.sum())
        low, high = (low, middle) if math.sqrt(variance) > std else (middle, high)
    return low / spread


class _Correlate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, keys: torch.Tensor, joint: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        correlation = keys.new_empty(len(keys), keys.shape[2], joint.shape[2])
        hidden = keys.new_empty(len(keys), len(weight), keys.shape[2])
        for part in _parts(correlation):
            c = correlation[part]
            torch.bmm(keys[part].transpose(1, 2), joint[part], out=c)
            _tanh_(c)
            torch.bmm(weight.expand(len(c), -1, -1), c.transpose(1, 2), out=hidden[part])
        ctx.save_for_backward(keys, joint, weight, correlation)
        ctx.set_materialize_grads(False)
        return hidden, correlation

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_hidden: torch.Tensor | None, of_correlation: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        keys, joint, weight, correlation = ctx.saved_tensors
        of_keys, of_joint, of_weight = torch.empty_like(keys), torch.empty_like(joint), torch.zeros_like(weight)
        parts = _parts(correlation)
        whole = torch.empty_like(correlation[parts[0]]) if parts else correlation
        for part in parts:
            c = correlation[part]
            g = whole[: len(c)]
            if of_hidden is None:
                g.zero_()
            else:
                h = of_hidden[part]
                torch.bmm(h.transpose(1, 2), weight.expand(len(c), -1, -1), out=g)
                of_weight.addmm_(h.transpose(0, 1).flatten(1), c.flatten(0, 1))
            if of_correlation is not None:
                g += of_correlation[part]
            torch.ops.aten.tanh_backward.grad_input(g, c, grad_input=g)
            torch.bmm(joint[part], g.transpose(1, 2), out=of_keys[part])
            torch.bmm(keys[part], g, out=of_joint[part])
        return of_keys, of_joint, of_weight


def _parts(correlation: torch.Tensor) -> list[slice]:
    """The batch in parts that fit the cache; on a GPU in one part."""
    sequences = len(correlation)
    size = sequences if correlation.is_cuda else CACHED_BYTES // (correlation[0].nbytes if sequences else 1)
    return [slice(start, start + max(size, 1)) for start in range(0, sequences, max(size, 1))]


def _tanh_(values: torch.Tensor) -> None:
    """Tanh in place; tanh(x) = 2 σ(2x) - 1 to float32's precision in a sixth of the time of PyTorch's tanh on a CPU."""
    if values.is_cpu and values.dtype == torch.float32:
        values.mul_(2).sigmoid_().mul_(2).sub_(1)
    else:
        values.tanh_()
