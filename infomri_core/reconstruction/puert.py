"""PUERT's network (Zhang et al. 2022): nine steps of gradient and two residual blocks."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.physics.kspace import fft2c, ifft2c, zero_fill
from infomri_core.reconstruction.base import Reconstructor, VarianceHead, convolution, gaussian

PHASES = 9


@final
class PuertPhase(nn.Module):
    """r = x - step Re F^H (m F x - y), then r + weight G(two residual blocks of D r)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(0.5))
        self.weight = nn.Parameter(torch.tensor(0.01))
        self.enter = convolution(1, width)
        self.first = nn.ModuleList(convolution(width, width) for _ in range(2))
        self.second = nn.ModuleList(convolution(width, width) for _ in range(2))
        self.leave = convolution(width, 1)

    def forward(self, x: Tensor, measurement: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The next image (B, H, W) and the last features (B, width, H, W)."""
        r = x - self.step * ifft2c(mask * fft2c(x) - measurement).real
        features = self.enter(r[:, None])
        for first, second in zip(self.first, self.second):
            features = features + second(functional.relu(first(features)))
        return r + self.weight * self.leave(features)[:, 0], features


@final
class Puert(Reconstructor):
    """``width`` features in every phase. At the published 32 the phases have 338,427 parameters,
    with a learned mask of 256 x 256 points the published 403,963 (that the second scalar of a
    phase weighs the residual is inferred from this count).

    PUERT is this network with ``sampler = "puert"``: a learned probability of each point, with its
    own gradient through the mask. The variance is ISTA-Net+'s branch, our choice.
    """

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__(shape, width)
        self.phases = nn.ModuleList(PuertPhase(width) for _ in range(PHASES))
        self.variance = VarianceHead(width + 2, width)

    def forward(self, measurement: Tensor, mask: Tensor) -> Tensor:
        zero_filled = zero_fill(measurement)
        x, features = zero_filled.real, torch.empty(0)
        for phase in self.phases:
            x, features = phase(x, measurement, mask)
        images = torch.stack((x, zero_filled.abs()), dim=1)
        return gaussian(x, self.variance(torch.cat((features, images), dim=1)))
