"""What every reconstructor gives: a Gaussian over images, from sampled k-space and its mask."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from infomri_core.physics.calibration import negative_log_likelihood

LOG_VARIANCE = (-12.0, 2.0)
"""Limits of log variance, of intensity squared: a standard deviation from 0.0025 to 2.7."""


@final
@dataclass(frozen=True)
class HeldOut:
    """What a reconstructor is judged by that no image is shown: the ``error`` at points that were
    measured and held out, complex, as an image, and the ``variance`` expected of it, (B, H, W)."""

    error: Tensor
    variance: Tensor

    def loss(self) -> Tensor:
        """Negative log-likelihood in nats a pixel, (B,)."""
        size, log_variance = self.error.abs(), self.variance.log()
        return negative_log_likelihood(size, log_variance, torch.zeros_like(size))


class Reconstructor(nn.Module, ABC):
    """q(x | y) = N(mean, diag(exp(l))) (InfoMRI, Eq. 22).

    Made of the images' ``shape`` (H, W), none of whose sides is below ``least``, and a base
    ``width``. ``private``: whether DP-SGD can train it, that is whether all its parameters are in
    layers of :mod:`infomri_core.dp.per_sample`, each used once. ``self_supervised``: whether it is
    trained without images; ``n_drawn``: how many standard normal numbers a slice's training takes.
    """

    least: ClassVar[int] = 8
    private: ClassVar[bool] = False
    self_supervised: ClassVar[bool] = False
    n_drawn: int = 0

    def __init__(self, shape: tuple[int, int], width: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, measurement: Tensor, mask: Tensor) -> Tensor:
        """Mean and log variance (B, 2, H, W) from sampled k-space (B, H, W), complex and zero
        where it was not sampled, and its mask (B, H, W) of zeros and ones."""

    def training_output(
        self, measurement: Tensor, mask: Tensor, drawn: Tensor
    ) -> Tensor | HeldOut:
        """The same in training, held against the image; or what it is judged by instead. ``drawn``
        (B, n_drawn) is all that it may have of chance."""
        found: Tensor = self(measurement, mask)
        return found


def gaussian(mean: Tensor, log_variance: Tensor) -> Tensor:
    """The output (B, 2, H, W) of mean and log variance (B, H, W), within its limits."""
    return torch.stack((mean, log_variance.clamp(*LOG_VARIANCE)), dim=1)


def convolution(n_in: int, n_out: int, bias: bool = True) -> nn.Conv2d:
    """3x3, of the same size."""
    return nn.Conv2d(n_in, n_out, 3, padding=1, bias=bias)


class VarianceHead(nn.Module):
    """Log variance (B, H, W) from features (B, n_in, H, W): two 3x3 convolutions and a ReLU.

    It starts at one value everywhere, so that training starts as least squares.
    """

    START = -5.0

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        last = convolution(width, 1)
        start_at(last, self.START)
        self.layers = nn.Sequential(convolution(n_in, width), nn.ReLU(), last)

    def forward(self, features: Tensor) -> Tensor:
        found: Tensor = self.layers(features)[:, 0]
        return found


def start_at(layer: nn.Conv2d, value: float) -> None:
    """Let ``layer`` answer ``value`` whatever it sees."""
    assert layer.bias is not None
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, value)
