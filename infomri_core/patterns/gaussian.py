"""Points drawn from a normal density about the zero frequency (ProM's 2-D Gaussian baseline)."""

import math

import torch

from infomri_core.randomness.draws import Randomness, uniform
from infomri_core.system.errors import InputError


def gaussian_mask(
    shape: tuple[int, int],
    n_points: int,
    std: float,
    generator: Randomness = None,
    centre_radius: float = 0.0,
) -> torch.Tensor:
    """A bool mask (H, W) of exactly ``n_points`` distinct points.

    Points are drawn without replacement with probability proportional to a normal density of
    ``std`` points about the zero frequency (Gumbel top-k). A disc of ``centre_radius`` points is
    sampled first, as far as the budget reaches; 0 for the published baseline, which may miss the
    zero frequency. Raises ``InputError`` for a count outside 1 .. H x W, or ``std`` <= 0.
    """
    if not 1 <= n_points <= math.prod(shape):
        got = f"{n_points}"
        raise InputError("gaussian: points", f"1 to {math.prod(shape)}", got, "choose another")
    if not 0 < std < float("inf"):
        raise InputError("gaussian: std", "a number of points above 0", f"{std}", "correct it")
    rows, columns = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    squared = rows[:, None] ** 2 + columns[None, :] ** 2
    drawn = uniform(generator, shape, torch.device("cpu"), torch.float64).clamp_min(1e-300)
    score = -squared / (2 * std**2) - (-drawn.log()).log()
    if centre_radius > 0:
        score = torch.where(squared < centre_radius**2, 1e9 - squared, score)
    mask = torch.zeros(math.prod(shape), dtype=torch.bool)
    mask[score.flatten().topk(n_points).indices] = True
    return mask.view(shape)
