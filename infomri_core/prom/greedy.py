"""Iterative gradient sampling (IGS): columns one by one, each where the loss falls fastest."""

from collections.abc import Callable

import torch

from infomri_core.patterns.budget import n_samples
from infomri_core.physics.kspace import fft2c
from infomri_core.reconstruction.linear import zero_filled

_BATCH = 32


def greedy_columns(
    images: torch.Tensor, acceleration: float, advance: Callable[[], None] = lambda: None
) -> torch.Tensor:
    """A bool mask (H, W) of floor(W / acceleration) whole columns for real ``images`` (n, H, W).

    Begins with the centre column, which counts, and adds at each pass over the images the column
    whose weight has the most negative gradient of the mean squared error (Razumov et al.; one
    of ProM's baselines). ``advance`` is called once a pass.
    """
    height, width = images.shape[-2:]
    n_columns = n_samples(width, acceleration)
    chosen = torch.zeros(width, dtype=torch.bool, device=images.device)
    chosen[width // 2] = True
    for _ in range(n_columns - 1):
        gradient = _gradient(images, chosen)
        chosen[gradient.masked_fill(chosen, float("inf")).argmin()] = True
        advance()
    return chosen.expand(height, width).clone()


def _gradient(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    weights = chosen.to(images.dtype).requires_grad_(True)
    total = torch.zeros_like(weights)
    for batch in images.split(_BATCH):
        error = (zero_filled(fft2c(batch) * weights) - batch).square().mean((-2, -1)).sum()
        total += torch.autograd.grad(error, weights)[0]
    return total
