"""ISTA-Net+ (Zhang and Ghanem 2018): nine steps of gradient and learned shrinkage."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.physics.kspace import fft2c, ifft2c, zero_fill
from infomri_core.reconstruction.base import Reconstructor, VarianceHead, convolution, gaussian

PHASES = 9


@final
class Phase(nn.Module):
    """r = x - step Re F^H (m F x - y), then r + G(H'(soft(H(D r), threshold)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(0.5))
        self.threshold = nn.Parameter(torch.tensor(0.01))
        self.enter = convolution(1, width, bias=False)
        self.forward_1 = convolution(width, width, bias=False)
        self.forward_2 = convolution(width, width, bias=False)
        self.backward_1 = convolution(width, width, bias=False)
        self.backward_2 = convolution(width, width, bias=False)
        self.leave = convolution(width, 1, bias=False)

    def forward(self, x: Tensor, measurement: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The next image (B, H, W) and the last features (B, width, H, W)."""
        r = x - self.step * ifft2c(mask * fft2c(x) - measurement).real
        sparse = self.forward_2(functional.relu(self.forward_1(self.enter(r[:, None]))))
        sparse = sparse.sign() * functional.relu(sparse.abs() - self.threshold)
        features = self.backward_2(functional.relu(self.backward_1(sparse)))
        return r + self.leave(features)[:, 0], features


@final
class ISTANet(Reconstructor):
    """``width`` features in every phase; at the published 32 the phases have 336,978 parameters.

    Trained for the likelihood alone, without the published loss's symmetry term. The variance is a
    branch on the last features, the image and |x_zf|: our choice, InfoMRI names none.
    """

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__(shape, width)
        self.phases = nn.ModuleList(Phase(width) for _ in range(PHASES))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_normal_(layer.weight)
        self.variance = VarianceHead(width + 2, width)

    def forward(self, measurement: Tensor, mask: Tensor) -> Tensor:
        zero_filled = zero_fill(measurement)
        x, features = zero_filled.real, torch.empty(0)
        for phase in self.phases:
            x, features = phase(x, measurement, mask)
        images = torch.stack((x, zero_filled.abs()), dim=1)
        return gaussian(x, self.variance(torch.cat((features, images), dim=1)))
