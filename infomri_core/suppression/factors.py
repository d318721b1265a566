"""What the study centre's audit set says of the correlations of k-space."""

import torch
from torch import Tensor

from infomri_core.physics.covariance import spread
from infomri_core.randomness.seeds import torch_generator
from infomri_core.suppression.base import Penalty
from infomri_core.suppression.registry import RANK, build_suppression, needs_factors

TRUST = 0.75
"""Share of the audit set's sample covariance in the covariance that suppressions assume."""


def audit_factors(images: Tensor) -> Tensor:
    """The ``RANK`` leading factors (q, H, W) of the shrunk covariance of ``images`` (n, H, W).

    What they leave of each point's variance counts as its own, independent of the others.
    """
    generator = torch_generator("factors", device=images.device)
    return spread(images.float(), generator).factors[-RANK:] * TRUST**0.5


def audit_suppression(kind: str, images: Tensor, variance: Tensor, noise_std: float) -> Penalty:
    """The suppression of that name, for who has the audit set's ``images`` (n, H, W) at hand."""
    factors = audit_factors(images) if needs_factors([kind]) else None
    return build_suppression(kind, variance.to(torch.float32), factors, noise_std)
