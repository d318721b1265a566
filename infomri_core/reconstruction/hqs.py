"""Half-quadratic splitting with a learned denoiser (Zhang et al. 2021), unrolled."""

import math
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.physics.kspace import fft2c, ifft2c, zero_fill
from infomri_core.reconstruction.base import Reconstructor, VarianceHead, convolution, gaussian

STEPS = 8
_FIRST, _LAST, _WEIGHT = 49 / 255, 2.55 / 255, 0.23


@final
class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width, bias=False)
        self.second = convolution(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.second(functional.relu(self.first(x)))
        return found


@final
class DRUNet(nn.Module):
    """A U-Net of four scales of ``widths``, ``n_blocks`` residual blocks each and no
    normalisation: an image and its noise level (B, H, W) to the image without noise. 32.6 M
    parameters at (64, 128, 256, 512) and four blocks, as published."""

    def __init__(self, widths: tuple[int, int, int, int], n_blocks: int) -> None:
        super().__init__()

        def blocks(width: int) -> list[nn.Module]:
            return [_Residual(width) for _ in range(n_blocks)]

        pairs = list(pairwise(widths))
        self.enter = convolution(2, widths[0], bias=False)
        self.down = nn.ModuleList(
            nn.Sequential(*blocks(a), nn.Conv2d(a, b, 2, 2, bias=False)) for a, b in pairs
        )
        self.body = nn.Sequential(*blocks(widths[-1]))
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(b, a, 2, 2, bias=False), *blocks(a)) for a, b in pairs
        )
        self.leave = convolution(widths[0], 1, bias=False)

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = torch.stack((image, level.expand_as(image)), dim=1)
        x = functional.pad(x, (0, -width % 8, 0, -height % 8), "replicate")
        skips = [self.enter(x)]
        for stage in self.down:
            skips.append(stage(skips[-1]))
        x = self.body(skips[-1])
        for stage in reversed(self.up):
            x = stage(x + skips.pop())
        found: Tensor = self.leave(x + skips.pop())[:, 0]
        return found[..., :height, :width]


@final
class HQS(Reconstructor):
    """Eight times the exact data step z = F^H((m y + a F x) / (m + a)) and one denoiser.

    The denoiser's noise levels fall from 49/255 to 2.55/255, and a_k = 0.23 (2.55/255 / s_k)^2.
    All is trained together for the likelihood; nothing is downloaded. DRUNet has scales
    (w, 2 w, 4 w, 8 w), w = ``width``, of two blocks. The variance is a branch on the image, |x_zf|
    and what the last denoising changed, and teaches the mean nothing.
    """

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__(shape, width)
        self.denoiser = DRUNet((width, 2 * width, 4 * width, 8 * width), 2)
        self.variance = VarianceHead(3, width)
        levels = torch.linspace(math.log(_FIRST), math.log(_LAST), STEPS).exp()
        self.levels: Tensor
        self.register_buffer("levels", levels, persistent=False)

    def forward(self, measurement: Tensor, mask: Tensor) -> Tensor:
        zero_filled = zero_fill(measurement)
        x = z = zero_filled.real
        for level in self.levels:
            weight = _WEIGHT * (_LAST / level) ** 2
            z = ifft2c((measurement + weight * fft2c(x)) / (mask + weight)).real
            x = z + self.denoiser(z, level)
        seen = torch.stack((x, zero_filled.abs(), z - x), dim=1)
        return gaussian(x, self.variance(seen.detach()))
