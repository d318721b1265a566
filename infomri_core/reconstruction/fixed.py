"""Reconstructors whose mean needs no training: what every network has to beat.

Only their variance is learned: log variance is linear in the image's intensity and in its slope,
which is the edge map that a learned variance must beat too.
"""

from abc import abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from infomri_core.reconstruction.base import Reconstructor, VarianceHead, gaussian, start_at
from infomri_core.reconstruction.linear import hermitian_filled, zero_filled


class Fixed(Reconstructor):
    """An image by a formula, and a variance of three parameters."""

    private: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__(shape, width)
        self.edges = nn.Conv2d(2, 1, 1)
        start_at(self.edges, VarianceHead.START)

    def forward(self, measurement: Tensor, mask: Tensor) -> Tensor:
        image = self.image(measurement, mask)
        seen = torch.stack((image, slope(image)), dim=1)
        return gaussian(image, self.edges(seen)[:, 0])

    @abstractmethod
    def image(self, measurement: Tensor, mask: Tensor) -> Tensor:
        """The mean (B, H, W)."""


@final
class ZeroFilled(Fixed):
    """|F^H y|."""

    def image(self, measurement: Tensor, mask: Tensor) -> Tensor:
        return zero_filled(measurement)


@final
class HermitianFilled(Fixed):
    """|F^H y| after Hermitian completion: right for images without phase only."""

    def image(self, measurement: Tensor, mask: Tensor) -> Tensor:
        return hermitian_filled(measurement, mask)


def slope(image: Tensor) -> Tensor:
    """Length of the central difference of each pixel of (..., H, W), edges wrapped around."""
    across = torch.roll(image, -1, -1) - torch.roll(image, 1, -1)
    down = torch.roll(image, -1, -2) - torch.roll(image, 1, -2)
    return (across.square() + down.square() + 1e-12).sqrt() / 2
