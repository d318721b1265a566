"""A U-Net attacker that starts from the closed-form estimate and ends in the measured data."""

from typing import final

import torch
from torch import Tensor, nn

from infomri_core.attacks.base import Style
from infomri_core.attacks.linear.conjugate import wiener
from infomri_core.attacks.networks.refined import REST, RefinedAttack
from infomri_core.models.unet import UNet
from infomri_core.physics.kspace import fft2c, zero_fill

N_INPUTS = 5


@final
class UNetAttack(RefinedAttack):
    """A residual on top of LMMSE, followed by one step of data consistency.

    The network is given the zero-filled image (real, imaginary), the mask, the mean image and the
    LMMSE estimate's deviation from it. Untrained it answers with the LMMSE estimate. ``width`` 64
    is the paper's size; 16 is enough for a small audit set and a CPU.
    """

    name = "unet"
    title = "a U-Net that improves on the linear estimate"
    style = Style("#CC79A7", "-", "solid")
    adapt_rank = 3

    def make_network(self) -> nn.Module:
        return UNet(N_INPUTS, 1, self.n_channels)

    def improve(self, measurement: Tensor, mask: Tensor, start: Tensor) -> Tensor:
        zero_filled, mean = zero_fill(measurement), self.start.mean.expand_as(start)
        given = (zero_filled.real, zero_filled.imag, mask, mean, start - mean)
        change: Tensor = self.network(torch.stack(given, dim=1))
        rebuilt, variance = fft2c(start + change[:, 0]), REST * self.start.prior
        return wiener(measurement, mask, rebuilt, variance, self.start.noise_std)
