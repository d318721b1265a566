"""Images and outlines at a lower resolution: means of squares of pixels."""

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from infomri_core.data.base import ABSENT, SliceDataset
from infomri_core.system.errors import InputError

LEAST = 16
"""Pixels that must be left along each side."""


@final
class Shrunk(SliceDataset):
    """``dataset`` with each ``factor`` x ``factor`` pixels made one: of images their mean, of
    outlines one where at least half of them are inside.

    The images of such data are no scan's: they are for trying a study out on a small machine, and
    results on them are those of the lower resolution.

    Args:
        dataset: Whose images are divisible by the factor.
        factor: At least 1.
        where: What an error names as the place.

    Raises:
        InputError: Sides that the factor does not divide, or fewer than 16 pixels left.
    """

    def __init__(self, dataset: SliceDataset, factor: int, where: str) -> None:
        height, width = dataset.shape
        if height % factor or width % factor or min(height, width) < LEAST * factor:
            expected = f"a factor of both sides that leaves {LEAST} pixels or more"
            got = f"{factor} for images of {height} x {width}"
            raise InputError(f"{where} shrink", expected, got, "choose another, or leave it out")
        self._inner, self._factor = dataset, factor
        self.table = dataset.table
        self.shape = (height // factor, width // factor)
        self.mask_names, self.n_raters = dataset.mask_names, dataset.n_raters
        self.simulated_raters = dataset.simulated_raters

    def images(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return avg_pool2d(self._inner.images(indices)[:, None], self._factor)[:, 0]

    def masks(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        return self._majority(self._inner.masks(indices))

    def ratings(self, indices: Sequence[int] | np.ndarray) -> torch.Tensor:
        found = self._inner.ratings(indices)
        absent = (found == ABSENT).all(-1).all(-1)
        return self._majority(found).masked_fill(absent[..., None, None], ABSENT)

    def check(self, indices: np.ndarray) -> None:
        self._inner.check(indices)

    def _majority(self, outlines: torch.Tensor) -> torch.Tensor:
        """Uint8 (..., H/f, W/f) of zeros and ones from (..., H, W) of the same."""
        flat = outlines.flatten(0, -3)[:, None].float()
        inside = avg_pool2d(flat, self._factor) >= 0.5
        return inside.to(torch.uint8).view(*outlines.shape[:-2], *self.shape)
