"""What an attacker knows of images before measuring: mean and covariance from the audit set."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infomri_core.physics.kspace import fft2c, reflect

MAX_RANK = 1024
_OVERSAMPLE = 32
_RADIAL_WEIGHT = 8.0
_FLOOR = 1e-9


@dataclass(frozen=True)
class Spread:
    """Second moments of n images (H, W).

    ``factors`` (r, H, W): the sample covariance is the sum of their outer products, up to what
    lies beyond ``MAX_RANK``, whose k-space variance is ``lost`` (H, W). ``prior`` (H, W) is a
    stationary model: the variance of each point of k-space, symmetric and positive.
    """

    mean: Tensor
    factors: Tensor
    lost: Tensor
    prior: Tensor


def spread(images: Tensor, generator: torch.Generator) -> Spread:
    """Mean, factors of the sample covariance and stationary prior of ``images`` (n, H, W).

    A single image has no covariance: the prior then takes the image itself for a deviation.
    """
    n, shape = len(images), images.shape[1:]
    mean = images.mean(0)
    centred = images - mean
    factors = _factors(centred.flatten(1), generator).view(-1, *shape) / max(n - 1, 1) ** 0.5
    energy = mean_energy(centred) * (n / max(n - 1, 1))
    lost = (energy - mean_energy(factors) * len(factors)).clamp_min(0)
    profile = _radial(energy if n > 1 else mean_energy(images))
    prior = (n * energy + _RADIAL_WEIGHT * profile) / (n + _RADIAL_WEIGHT)
    return Spread(mean, factors, lost, prior.clamp_min(_FLOOR + _FLOOR * float(prior.max())))


def mean_energy(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """E_i = mean |k_i|^2 over real images (n, H, W): (H, W), equal on conjugate pairs, summed in
    ``dtype``; zero without images."""
    total = torch.zeros(images.shape[1:], device=images.device, dtype=dtype)
    if len(images) == 0:
        return total
    for part in images.split(256):
        total += fft2c(part).abs().to(dtype).square().sum(0)
    return (total + reflect(total)) / (2 * len(images))


def _radial(energy: Tensor) -> Tensor:
    """``energy`` averaged over rings one point wide."""
    height, width = energy.shape
    rows = torch.arange(height, device=energy.device) - height // 2
    columns = torch.arange(width, device=energy.device) - width // 2
    ring = torch.hypot(rows[:, None].double(), columns[None, :].double()).round().long().flatten()
    sums = torch.zeros(int(ring.max()) + 1, device=energy.device)
    counts = torch.zeros_like(sums).index_add_(0, ring, torch.ones_like(energy.flatten()))
    sums.index_add_(0, ring, energy.flatten())
    return (sums / counts)[ring].view_as(energy)


def _factors(centred: Tensor, generator: torch.Generator) -> Tensor:
    """Rows (r, N) with the same sum of outer products as the rows of ``centred`` (n, N).

    Exact through the smaller Gram matrix up to ``MAX_RANK``; beyond it, the leading part by
    subspace iteration (Halko et al. 2011).
    """
    n, n_pixels = centred.shape
    if min(n, n_pixels) > MAX_RANK:
        centred = _leading(centred, generator)
    x = centred.double()
    if len(x) <= n_pixels:
        values, vectors = torch.linalg.eigh(x @ x.T)
        rows = vectors.T @ x
    else:
        values, vectors = torch.linalg.eigh(x.T @ x)
        rows = values.clamp_min(0).sqrt()[:, None] * vectors.T
    keep = values > 1e-9 * values[-1].clamp_min(1e-12)
    return rows[keep].float()[-MAX_RANK:]


def _leading(centred: Tensor, generator: torch.Generator) -> Tensor:
    """``centred`` (n, N) projected onto about its MAX_RANK leading directions, few rows."""
    size = (centred.shape[1], MAX_RANK + _OVERSAMPLE)
    random = torch.randn(size, generator=generator, device=generator.device)
    basis = torch.linalg.qr(centred @ random.to(centred)).Q
    for _ in range(2):
        basis = torch.linalg.qr(centred @ (centred.T @ basis)).Q
    return basis.T @ centred
