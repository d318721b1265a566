"""Marginal entropy of a noisy k-space measurement, and the redundancy of its mask."""

import math

import torch

from infomri_core.physics.kspace import reflect
from infomri_core.system.errors import InputError

_LOG_2PI = math.log(2 * math.pi)


def marginal_entropy(mask: torch.Tensor, variance: torch.Tensor, noise_std: float) -> torch.Tensor:
    """H(Y) in nats of the sampled k-space of real images, as a Gaussian (InfoMRI, Eq. 33-37).

    The sum over sampled positions, and over real and imaginary part, of

    - 1/2 (1 + log 2pi + 1/2 (log s^2 + log(s^2 + 2V))) where the partner i* is sampled too,
    - 1/2 (1 + log 2pi + log(s^2 + V)) where it is not, or where i = i*.

    As functions of the mask the cases are weighed by I = m m~ and J = m (1 - m~), I = 0 and J = m
    where i = i*, so that the gradient is that of the expectation under independent draws. Where
    i = i* the imaginary part carries noise only, whatever ``variance`` says.

    Args:
        mask: m, (..., H, W) of zeros and ones.
        variance: V, (2, H, W), of the real and imaginary parts of noiseless k-space, symmetric
            under ``reflect``.
        noise_std: s > 0 of each part.

    Returns:
        Nats, (...).
    """
    return entropy_map(mask, variance, noise_std).sum((-2, -1))


def entropy_map(mask: torch.Tensor, variance: torch.Tensor, noise_std: float) -> torch.Tensor:
    """Nats that each position adds to ``marginal_entropy``, whose arguments it takes.

    Args:
        mask: (..., H, W). Of sampling probabilities in place of zeros and ones the result is the
            expectation under independent draws.

    Returns:
        Nats, (..., H, W).

    Raises:
        InputError: ``variance`` is of another shape, or ``noise_std`` is not above 0.
    """
    shape = tuple(mask.shape[-2:])
    if tuple(variance.shape) != (2, *shape):
        got = f"{tuple(variance.shape)} for masks {tuple(mask.shape)}"
        raise InputError("marginal_entropy: variance", "(2, H, W)", got, "match their (H, W)")
    alone, discount = entropy_terms(variance, noise_std)
    m = mask.to(torch.promote_types(mask.dtype, variance.dtype))
    return m * (alone + reflect(m) * discount)


def entropy_terms(variance: torch.Tensor, noise_std: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Nats that a position adds without its partner, and by how many more with it.

    Args:
        variance: (2, H, W), as in ``marginal_entropy``.
        noise_std: Above 0.

    Returns:
        Two arrays (H, W).

    Raises:
        InputError: ``noise_std`` is not above 0.
    """
    if not 0 < noise_std < math.inf:
        raise InputError("marginal_entropy: noise_std", "> 0", str(noise_std), "set the noise")
    own = self_conjugate((variance.shape[-2], variance.shape[-1])).to(variance.device)
    V = torch.stack([variance[0], variance[1].masked_fill(own, 0)])
    s2 = noise_std**2
    alone = (1 + _LOG_2PI + torch.log(s2 + V)).sum(0) / 2
    paired = (1 + _LOG_2PI + (math.log(s2) + torch.log(s2 + 2 * V)) / 2).sum(0) / 2
    return alone, (paired - alone).masked_fill(own, 0)


def redundancy(mask: torch.Tensor) -> torch.Tensor:
    """Share of the sampled points whose conjugate partner is sampled too.

    Points that are their own partner count as not redundant.

    Args:
        mask: (..., H, W) of zeros and ones.

    Returns:
        Shares in [0, 1], (...), zero for an empty mask.
    """
    m = mask.to(torch.promote_types(mask.dtype, torch.float32))
    own = self_conjugate((m.shape[-2], m.shape[-1])).to(m.device)
    redundant = (m * reflect(m)).masked_fill(own, 0).sum((-2, -1))
    return redundant / m.sum((-2, -1)).clamp(min=1)


def self_conjugate(shape: tuple[int, int]) -> torch.Tensor:
    """Where i = i*: the zero frequency, and Nyquist on even axes.

    Args:
        shape: (H, W).

    Returns:
        Bool (H, W).
    """
    index = torch.arange(shape[0] * shape[1]).view(shape)
    return index == reflect(index)
