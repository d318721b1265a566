"""A real image is measured twice wherever both i and i* are sampled: both answers become one."""

import torch
from torch import Tensor

from infomri_core.physics.kspace import ifft2c, reflect


def symmetrise(measurement: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(y_sym, count) of y and mask (..., H, W): all that y says about a real image.

    y_sym = (m y + m* conj y*) / (m + m*), zero where nothing was sampled; count = m + m*. The
    likelihood of k is Gaussian with precision count / (2 sigma^2) at each point of the full plane
    (a pair stands there twice, hence the half); at self-conjugate points y_sym is real.
    """
    count = mask + reflect(mask)
    total = mask * measurement + reflect(mask * measurement).conj()
    return total / count.clamp_min(1), count


def wiener(
    measurement: Tensor, mask: Tensor, mean: Tensor, prior: Tensor, noise_std: Tensor
) -> Tensor:
    """Posterior mean (..., H, W), real, of an image with mean ``mean`` (its k-space, (H, W))
    and independent k-space points of variance ``prior`` (H, W)."""
    y, count = symmetrise(measurement, mask)
    gain = prior * count / (prior * count + 2 * noise_std.square())
    return torch.real(ifft2c(mean + gain * (y - mean)))
