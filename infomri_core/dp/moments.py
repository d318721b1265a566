"""The variance of k-space out of the sites' own patients, under a Gaussian mechanism of its own.

Second moments about a mean that everybody knows, never a first one: the mean of k-space is the
mean image.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch

from infomri_core.dp.lattice import Lattice
from infomri_core.physics.entropy import self_conjugate
from infomri_core.physics.kspace import fft2c, reflect
from infomri_core.plan.plan import Moments, Plan
from infomri_core.randomness.secret_stream import SecretStream
from infomri_core.system.errors import Cancelled, InputError

MARGIN = 2.0**-30
"""Relative error allowed to sums of float64."""

SMALLEST_SHARE = 0.01
"""The least share of the public variance that a merged one may fall to."""


def unit_squares(images: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """The squares of the real and imaginary parts of F x - ``mean`` of one patient's (or one
    slice's) ``images`` (n, H, W), averaged over them, float64 (2, H, W)."""
    parts = torch.view_as_real(fft2c(images.double())).movedim(-1, 1)
    return (parts - mean.double()).square().mean(0)


def unit_moments(images: torch.Tensor, mean: torch.Tensor, clip: float) -> torch.Tensor:
    """What one patient (or slice) adds: :func:`unit_squares`, scaled down to the Euclidean norm
    ``clip`` over all positions and parts. Zeros where they are not finite."""
    squares = unit_squares(images, mean)
    norm = float(squares.norm())
    if not np.isfinite(norm):
        return torch.zeros_like(squares)
    return squares * (clip / max(norm, clip))


def noised_moments(
    rules: Moments,
    units: Sequence[np.ndarray],
    images: Callable[[np.ndarray], torch.Tensor],
    mean: torch.Tensor,
    stream: SecretStream,
    cancelled: Callable[[], bool] = lambda: False,
) -> torch.Tensor:
    """The sum over ``units`` (rows that ``images`` takes) of :func:`unit_moments`, on a lattice
    with noise of standard deviation ``noise_multiplier * clip``, float32 (2, H, W).

    Guarantee: one Gaussian mechanism of that noise multiplier under adding or removing a unit,
    whatever ``mean`` it was asked about, if ``stream`` is secret and never used again
    (:meth:`Lattice.noised`). The average with the mirror image under i -> i*, and zeros for the
    imaginary part where i = i*, follow the noise and cost nothing. Raises ``Cancelled`` between
    two units.
    """
    total = torch.zeros_like(mean, dtype=torch.float64)
    for rows in units:
        if cancelled():
            raise Cancelled
        total += unit_moments(images(rows), mean, rules.clip)
    lattice = Lattice(rules.clip, rules.noise_multiplier, total.numel(), MARGIN)
    return symmetric(lattice.noised(total, stream)).float()


def symmetric(moments: torch.Tensor) -> torch.Tensor:
    """``moments`` (2, H, W) averaged with their mirror image under i -> i*; the imaginary part is
    zero where i = i*, as for real images."""
    mirrored = (moments + reflect(moments)) / 2
    mirrored[1].masked_fill_(_own(moments), 0)
    return mirrored


def merged_variance(
    rules: Moments, totals: Sequence[np.ndarray], n_units: Sequence[int], public: torch.Tensor
) -> torch.Tensor:
    """V (2, H, W) float32 from the sites' noised ``totals`` of ``n_units`` each.

    V = P + w (M - P): M is the sum of the totals over the sum of the counts, P the ``public``
    variance, and w = P^2 / (P^2 + sigma^2) with sigma the standard deviation of the noise in M.
    So where the noise drowns the moments the public value stands, and without noise V is M. No
    value falls below ``SMALLEST_SHARE`` of the public one.
    """
    if not totals or min(n_units) < 1:
        expected = "moments of at least one patient"
        raise InputError("merged_variance", expected, f"{list(n_units)}", "ask more sites")
    P = public.double()
    n = sum(n_units)
    M = torch.from_numpy(np.sum(totals, axis=0, dtype=np.float64)) / n
    noise = len(totals) * (rules.noise_multiplier * rules.clip / n) ** 2
    sigma2 = noise * torch.where(_own(P), P.new_tensor(1.0), P.new_tensor(0.5))
    weight = (P.square() / (P.square() + sigma2)).nan_to_num()
    V = torch.maximum(P + weight * (M - P), SMALLEST_SHARE * P)
    return symmetric(V).float()


def clipped_share(
    clip: float,
    units: Sequence[np.ndarray],
    images: Callable[[np.ndarray], torch.Tensor],
    mean: torch.Tensor,
) -> float:
    """The share of ``units`` whose squares have a norm above ``clip``."""
    norms = [float(unit_squares(images(rows), mean).norm()) for rows in units]
    return sum(norm > clip for norm in norms) / max(1, len(norms))


def moments_rules(plan: Plan) -> Moments:
    """The plan's ``[moments]``; ``InputError`` where there is none."""
    if plan.moments is None:
        raise InputError("plan", "a section [moments]", "none", "add it")
    return plan.moments


def _own(moments: torch.Tensor) -> torch.Tensor:
    shape = cast(tuple[int, int], tuple(moments.shape[-2:]))
    return self_conjugate(shape).to(moments.device)
