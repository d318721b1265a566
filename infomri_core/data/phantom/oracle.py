"""The best mask of the phantoms, computed: where in k-space their findings show."""

import numpy as np
import torch

from infomri_core.data.phantom.anatomy import FINDINGS, draw_slices
from infomri_core.data.phantom.dataset import draw_population
from infomri_core.physics.kspace import fft2c, reflect
from infomri_core.system.errors import InputError


def finding_energy(
    size: int, n_patients: int = 96, seed: int = 0, noise_std: float = 0.02
) -> torch.Tensor:
    """How well each k-space position separates slices with and without a finding.

    E |F(with - without)|^2 over patients, relative to what is to be told apart from it: the
    variance of the healthy anatomy plus that of the noise, 2 noise_std^2.

    Args:
        size: Rows and columns of a slice.
        n_patients: Phantoms that the expectation is taken over.
        seed: Of those phantoms.
        noise_std: Standard deviation of the real part of the noise and of its imaginary part.

    Returns:
        (3, size, size), one for each finding, symmetric under i -> i*.
    """
    anatomy, _ = draw_population("oracle", n_patients, 1, 0.0, seed)
    none = np.zeros((n_patients, len(FINDINGS)), dtype=np.float32)
    healthy = draw_slices(anatomy, none, size)
    background = fft2c(torch.from_numpy(healthy)).var(dim=0) + 2.0 * noise_std**2
    energies = []
    for finding in range(len(FINDINGS)):
        amount = none.copy()
        amount[:, finding] = 1.0
        change = torch.from_numpy(draw_slices(anatomy, amount, size) - healthy)
        energies.append(fft2c(change).abs().square().mean(dim=0) / background)
    return torch.stack(energies)


def oracle_probabilities(
    size: int, ratio: float, n_patients: int = 96, seed: int = 0, noise_std: float = 0.02
) -> torch.Tensor:
    """The mask that collects most finding energy, as probabilities.

    Every finding counts alike. One of each conjugate pair is taken before any partner is, since
    the partner of a real image says nothing new. Positions are in, out, or, the last one, partly.

    Args:
        size: As the others of ``finding_energy``.
        ratio: Share of k-space to sample, in (0, 1].

    Returns:
        (size, size), with mean ``ratio``.

    Raises:
        InputError: A ratio outside (0, 1].
    """
    if not 0.0 < ratio <= 1.0:
        raise InputError("oracle ratio", "a share in (0, 1]", f"{ratio}", "fix it")
    energy = finding_energy(size, n_patients, seed, noise_std)
    score = (energy / energy.sum(dim=(-2, -1), keepdim=True)).sum(dim=0)
    score = score - 2.0 * score.max() * _partner(size)
    budget = ratio * size * size
    order = score.flatten().argsort(descending=True)
    chosen = torch.zeros(size * size)
    chosen[order[: int(budget)]] = 1.0
    if int(budget) < size * size:
        chosen[order[int(budget)]] = budget - int(budget)
    return chosen.reshape(size, size)


def _partner(size: int) -> torch.Tensor:
    """True at the second position of each conjugate pair, in raster order."""
    number = torch.arange(size * size).reshape(size, size)
    return reflect(number) < number
