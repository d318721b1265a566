"""The budget operator: probabilities with any mean to probabilities with the wanted mean."""

import torch

from infomri_core.system.errors import InputError


def rescale(probabilities: torch.Tensor, ratio: float) -> torch.Tensor:
    """Rescale b to mean exactly r, staying in [0, 1].

    b * r / mean(b) where mean(b) >= r, else 1 - (1 - r) / (1 - mean(b)) * (1 - b) (InfoMRI,
    Eq. 17, whose condition reads ||b||_1 >= r N). Differentiable in b; computed in float64 and
    returned in b's precision.

    Args:
        probabilities: b, of any shape, in [0, 1].
        ratio: r, in [0, 1].

    Raises:
        InputError: A ratio outside [0, 1].
    """
    if not 0 <= ratio <= 1:
        raise InputError("rescale: ratio", "0 <= ratio <= 1", str(ratio), "correct it")
    b = probabilities.double()
    mean, tiny = b.mean(), torch.finfo(torch.float64).tiny
    shrunk = b * (ratio / mean.clamp(min=tiny))
    grown = 1 - (1 - ratio) / (1 - mean).clamp(min=tiny) * (1 - b)
    return torch.where(mean >= ratio, shrunk, grown).to(probabilities.dtype)
