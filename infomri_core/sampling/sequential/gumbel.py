"""Draws without replacement by Gumbel noise: the largest of perturbed logits, and their chance."""

import math

import torch
from torch import Tensor

from infomri_core.randomness.draws import Randomness, device_of, uniform

_NEVER = -1e7
"""A logit that is never drawn; finite, so that its gradient is zero and not undefined."""


def gumbel_keys(logits: Tensor, taken: Tensor, generator: Randomness) -> Tensor:
    """``logits`` (B, n) plus standard Gumbel noise, minus infinity where ``taken`` (B, n). The k
    largest in their order are k draws without replacement by softmax(logits)."""
    device = device_of(generator, logits.device)
    u = uniform(generator, tuple(logits.shape), device).to(logits).clamp(1e-7, 1 - 1e-7)
    return (logits - (-u.log()).log()).masked_fill(taken > 0, -math.inf)


def largest(keys: Tensor, counts: Tensor) -> Tensor:
    """Ones (B, n) at the ``counts`` (B,) largest ``keys`` (B, n) of each row, else zeros."""
    order = keys.detach().argsort(dim=1, descending=True)
    wanted = _place(order) < counts[:, None]
    return torch.zeros_like(keys.detach()).scatter_(1, order, wanted.to(keys.dtype))


def log_chance(logits: Tensor, keys: Tensor, taken: Tensor, counts: Tensor) -> Tensor:
    """Log of the chance (B,) that the ``counts`` (B,) largest ``keys`` come first, and in this
    order: the sum of l_j - log sum_i exp(l_i), i over what was left when j was drawn (Plackett
    and Luce), with its gradient to ``logits`` (B, n)."""
    order = keys.detach().argsort(dim=1, descending=True)
    free = logits.double().masked_fill(taken > 0, _NEVER).gather(1, order)
    left = free.flip(1).logcumsumexp(1).flip(1)
    drawn = _place(order) < counts[:, None]
    return torch.where(drawn, free - left, 0.0).sum(1).to(logits.dtype)


def _place(order: Tensor) -> Tensor:
    return torch.arange(order.shape[1], device=order.device).expand_as(order)
