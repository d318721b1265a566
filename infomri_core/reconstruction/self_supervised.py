"""A U-Net trained on measurements alone: no image is ever its target (SSDU, Yaman et al. 2020)."""

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional

from infomri_core.physics.kspace import fft2c, ifft2c, reflect
from infomri_core.reconstruction.base import HeldOut, Reconstructor, gaussian
from infomri_core.reconstruction.unet import UNet

HELD_OUT = 0.4
"""Share of the measured points that a step holds out on average, as published."""
MOST = 0.8
"""The largest chance of a point to be held out."""
_WINDOW = 5
_LEAST = 1e-6


@final
class SelfSupervised(Reconstructor):
    """fastMRI's U-Net; in the mean, measured points keep their values.

    A step of training splits the measured points of each slice in two at random. The network sees
    one part, and the loss is of the other: e = F^H h (y - F x) / sqrt(s) is the error at the
    held-out points h, a share s of k-space, as an image. Where an image's error has variance v in
    each pixel and comes from the share u of k-space that was not seen, E|e|^2 = |F^H h|^2 * v /
    (s u) is expected, ``*`` a circular convolution; the loss is the Gaussian's negative
    log-likelihood of e under that variance. With every point held out it is that of the image.
    The variance holds the measurement's noise.

    Two things it cannot know: what lies at points that are measured in no slice, and how much
    smaller the error is when all points are seen. ``width`` is ``chans``.
    """

    least: ClassVar[int] = 32
    private: ClassVar[bool] = True
    self_supervised: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__(shape, width)
        self.n_drawn = shape[0] * shape[1]
        self.network = UNet(shape, width)

    def forward(self, measurement: Tensor, mask: Tensor) -> Tensor:
        mean, log_variance = self.network(measurement, mask).unbind(1)
        kept = measurement + (1 - mask) * fft2c(mean)
        return gaussian(ifft2c(kept).real, log_variance)

    def training_output(self, measurement: Tensor, mask: Tensor, drawn: Tensor) -> HeldOut:
        """The error at the points that ``drawn`` (B, H W) holds out, from the others."""
        held = held_out(mask.detach(), drawn.view_as(mask))
        seen = mask * (1 - held)
        mean, log_variance = self(measurement * (1 - held), seen).unbind(1)
        share = held.mean((-2, -1), keepdim=True).clamp_min(1 / held[0].numel())
        unseen = 1 - seen.detach().mean((-2, -1), keepdim=True)
        error = ifft2c(held * (measurement - fft2c(mean))) / share.sqrt()
        return HeldOut(error, blurred(log_variance.exp(), held) / (share * unseen))


def held_out(mask: Tensor, drawn: Tensor) -> Tensor:
    """Which points of ``mask`` are held out, by standard normal numbers, all (B, H, W)."""
    return mask * (torch.erf(drawn.abs() / 2**0.5) < chances(mask))


def chances(mask: Tensor) -> Tensor:
    """The chance of each measured point to be held out, (B, H, W).

    Proportional to (1 - p) / p, p the density of the ``mask`` (B, H, W) around it: so the points
    held out lie where points are missing (the weights of Millard and Chiew 2023, as chances), and
    the densely measured centre of k-space is kept. ``HELD_OUT`` on average, up to ``MOST``.
    """
    window = (_WINDOW, 1, _WINDOW // 2, False, False)
    density = functional.avg_pool2d(mask[:, None], *window)[:, 0]
    density = ((density + reflect(density)) / 2).clamp_min(1e-3)
    missing = (1 - density).clamp_min(0) / density
    among = (mask * missing).sum((-2, -1), keepdim=True)
    scale = HELD_OUT * mask.sum((-2, -1), keepdim=True) / among.clamp_min(1e-9)
    return (missing * scale).clamp_max(MOST)


def blurred(variance: Tensor, held: Tensor) -> Tensor:
    """The variance of each pixel of F^H h F n, n independent of ``variance``, all (B, H, W)."""
    spread = torch.fft.ifft2(held).abs().square()
    found = torch.fft.ifft2(torch.fft.fft2(variance) * torch.fft.fft2(spread)).real
    return found.clamp_min(_LEAST)
