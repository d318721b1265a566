"""One outline of several raters'."""

import torch

from infomri_core.data.base import ABSENT


def majority(ratings: torch.Tensor) -> torch.Tensor:
    """What more than half of those outlined who looked at the slice.

    Args:
        ratings: Uint8 (k, R, M, H, W) of zeros and ones, or ``ABSENT``.

    Returns:
        Uint8 (k, M, H, W) of zeros and ones.
    """
    here = ratings != ABSENT
    inside = (ratings * here).sum(1, dtype=torch.int16)
    return (2 * inside > here.sum(1)).to(torch.uint8)
