"""MD-Recon-Net (Ran et al. 2021): image and k-space rebuilt side by side, and fused."""

from typing import final

import torch
from torch import Tensor, nn

from infomri_core.models.resnet import normalisation
from infomri_core.physics.kspace import fft2c, ifft2c, zero_fill
from infomri_core.reconstruction.base import Reconstructor, VarianceHead, convolution, gaussian

STAGES, CONVOLUTIONS = 5, 5
_SLOPE = 0.01


@final
class ComplexCNN(nn.Module):
    """x + five 3x3 convolutions of its real and imaginary part; complex (B, H, W) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in in [2, *[width] * (CONVOLUTIONS - 2)]:
            layers += [convolution(n_in, width, bias=False), normalisation("group", width)]
            layers.append(nn.LeakyReLU(_SLOPE))
        self.layers = nn.Sequential(*layers, convolution(width, 2))

    def forward(self, x: Tensor) -> Tensor:
        change = self.layers(torch.view_as_real(x).movedim(-1, 1))
        return x + torch.complex(change[:, 0], change[:, 1])


@final
class Stage(nn.Module):
    """Both networks, each made consistent with the data, and their weighted mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_image, self.of_kspace = ComplexCNN(width), ComplexCNN(width)
        self.trust = nn.Parameter(torch.full((2,), 0.1).log())
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor, measurement: Tensor, mask: Tensor) -> Tensor:
        """The next image, complex (B, H, W)."""
        found = (fft2c(self.of_image(image)), self.of_kspace(fft2c(image)))
        one, other = (
            (1 - mask) * k + mask * (k + w * measurement) / (1 + w)
            for k, w in zip(found, self.trust.exp())
        )
        share = torch.sigmoid(self.share)
        return ifft2c(share * one + (1 - share) * other)


@final
class MDRecon(Reconstructor):
    """Five stages of ``width`` features (published: 32), GroupNorm in place of BatchNorm, which
    would mix patients. The mean is the real part; the variance a branch on both parts and |x_zf|,
    our choice."""

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__(shape, width)
        self.stages = nn.ModuleList(Stage(width) for _ in range(STAGES))
        self.variance = VarianceHead(3, width)

    def forward(self, measurement: Tensor, mask: Tensor) -> Tensor:
        zero_filled = zero_fill(measurement)
        image = zero_filled
        for stage in self.stages:
            image = stage(image, measurement, mask)
        seen = torch.stack((image.real, image.imag, zero_filled.abs()), dim=1)
        return gaussian(image.real, self.variance(seen))
