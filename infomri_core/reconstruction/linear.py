"""Zero filling, alone and after Hermitian completion."""

import torch

from infomri_core.physics.kspace import reflect, zero_fill


def zero_filled(measurement: torch.Tensor) -> torch.Tensor:
    """The magnitude (..., H, W) of the zero-filled image of k-space (..., H, W)."""
    return zero_fill(measurement).abs()


def hermitian_completion(measurement: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sampled k-space (..., H, W), zero elsewhere, with each point's conjugate partner filled in
    where the mask has only one of the two; where it has both, the mean of the point and the
    partner's conjugate.

    Right for real images only, for which k(-i) = conj k(i). A scanner's images have phase, and
    there it adds an error that no further sample removes. ``mask`` (H, W) or (..., H, W).
    """
    there = mask.to(measurement.real.dtype)
    partner = reflect(there)
    return (measurement + reflect(measurement).conj()) / (there + partner).clamp_min(1)


def hermitian_filled(measurement: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The magnitude (..., H, W) of the image after Hermitian completion."""
    return zero_filled(hermitian_completion(measurement, mask))
