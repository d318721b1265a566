"""Projection onto {0 <= theta <= 1, sum theta <= S} (ProM, Eq. 6-7), exact and without a loop."""

import torch


def project(theta: torch.Tensor, budget: float | torch.Tensor) -> torch.Tensor:
    """The nearest point to ``theta`` (any shape) whose values lie in [0, 1] and sum to at most
    ``budget``: clip(theta - lambda, 0, 1) with the least lambda >= 0 that keeps the budget.

    The sum of the clipped values falls piecewise linearly in lambda, and bends at theta_i - 1 and
    at theta_i. Sorting the bends and adding up gives lambda exactly, in O(D log D) on the
    tensor's device, without waiting for it. ``budget`` >= 0.
    """
    values = theta.flatten().double()
    n = len(values)
    bends, order = torch.cat([values - 1, values]).sort()
    # A value begins to fall at theta_i - 1 and is zero from theta_i on.
    falling = torch.where(order < n, 1, -1).cumsum(0)
    drops = (bends.diff() * falling[:-1]).cumsum(0)
    sums = n - torch.cat([drops.new_zeros(1), drops])
    target = torch.as_tensor(budget, dtype=torch.float64, device=values.device)
    # The first bend whose sum is within the budget; lambda lies between it and the one before.
    place = torch.searchsorted(-sums, -target.reshape(1)).clamp(1, 2 * n - 1)
    before = place - 1
    slope = falling[before].clamp_min(1)
    threshold = bends[before] + (sums[before] - target) / slope
    threshold = torch.where(sums[0] <= target, bends[:1], threshold).clamp_min(0)
    return (values - threshold).clamp(0, 1).to(theta.dtype).view_as(theta)
