"""ADMM-CSNet (Yang et al. 2018): ADMM's iterations with learned filters and shrinkage."""

from typing import final

import torch
from torch import Tensor, nn

from infomri_core.physics.kspace import fft2c, ifft2c, zero_fill
from infomri_core.reconstruction.base import Reconstructor, VarianceHead, convolution, gaussian

STAGES, KNOTS = 7, 101


@final
class PiecewiseLinear(nn.Module):
    """A function of each channel, linear between values at ``KNOTS`` places from -1 to 1, and on
    beyond them; (B, C, H, W) to the same. It starts as soft shrinkage at ``threshold``."""

    def __init__(self, n_channels: int, threshold: float = 0.05) -> None:
        super().__init__()
        at = torch.linspace(-1, 1, KNOTS)
        start = at.sign() * (at.abs() - threshold).clamp_min(0)
        self.values = nn.Parameter(start.expand(n_channels, KNOTS).clone())

    def forward(self, x: Tensor) -> Tensor:
        place = (x + 1) * (KNOTS - 1) / 2
        left = place.detach().floor().clamp(0, KNOTS - 2).long()
        flat = left.movedim(1, 0).flatten(1)
        low, high = (self.values.gather(1, flat + k) for k in (0, 1))
        shape = (x.shape[1], x.shape[0], *x.shape[2:])
        low, high = (v.view(shape).movedim(0, 1) for v in (low, high))
        return low + (place - left) * (high - low)


@final
class Stage(nn.Module):
    """One iteration: the image by the data and rho, its split part by a gradient step of a learned
    penalty, and the multiplier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.log_rho = nn.Parameter(torch.tensor(0.2).log())
        self.keep = nn.Parameter(torch.tensor(0.5))
        self.rate = nn.Parameter(torch.tensor(1.0))
        self.enter, self.leave = convolution(1, width), convolution(width, 1)
        self.shrink = PiecewiseLinear(width)

    def forward(
        self, split: Tensor, dual: Tensor, measurement: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image, split part and multiplier (B, H, W), and the shrunk features."""
        rho = self.log_rho.exp()
        x = ifft2c((measurement + rho * fft2c(split - dual)) / (mask + rho)).real
        features = self.shrink(self.enter(split[:, None]))
        split = self.keep * split + (1 - self.keep) * (x + dual) - self.leave(features)[:, 0]
        return x, split, dual + self.rate * (x - split), features


@final
class ADMMNet(Reconstructor):
    """Seven stages of ``width`` filters of 3x3, each with a piecewise-linear function of its own;
    then the image by the data once more. Trained by Adam, not by the published L-BFGS; the
    variance is ISTA-Net+'s branch, our choice."""

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__(shape, width)
        self.stages = nn.ModuleList(Stage(width) for _ in range(STAGES))
        self.log_rho = nn.Parameter(torch.tensor(0.2).log())
        self.variance = VarianceHead(width + 2, width)

    def forward(self, measurement: Tensor, mask: Tensor) -> Tensor:
        zero_filled = zero_fill(measurement)
        split, features = zero_filled.real, torch.empty(0)
        dual = torch.zeros_like(split)
        for stage in self.stages:
            _, split, dual, features = stage(split, dual, measurement, mask)
        rho = self.log_rho.exp()
        x = ifft2c((measurement + rho * fft2c(split - dual)) / (mask + rho)).real
        images = torch.stack((x, zero_filled.abs()), dim=1)
        return gaussian(x, self.variance(torch.cat((features, images), dim=1)))
