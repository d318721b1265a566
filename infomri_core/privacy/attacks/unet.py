"""A U-Net attacker that starts from what the physics and the mean image already give."""

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.errors import InputError
from infomri_core.kspace import fft2c, zero_fill
from infomri_core.models.unet import UNet
from infomri_core.privacy.attacks.conjugate import wiener
from infomri_core.privacy.attacks.covariance import spread
from infomri_core.privacy.attacks.learned import LearnedAttack

WIDTHS = (8, 16, 32, 64)
N_INPUTS = 5


@final
class UNetAttack(LearnedAttack):
    """A residual on top of the Wiener estimate (independent k-space points around the mean).

    Its inputs: the zero-filled image's real and imaginary part, the mask, the mean image and the
    Wiener estimate's deviation from it. Untrained it answers with the Wiener estimate, which is
    the mean image corrected at the measured points.
    """

    name = "unet"
    mean: Tensor
    prior: Tensor
    noise_std: Tensor
    width: Tensor

    def __init__(
        self,
        shape: tuple[int, int],
        n_steps: int = 400,
        batch_size: int = 16,
        learning_rate: float = 3e-3,
        width: int = 16,
    ) -> None:
        if width not in WIDTHS:
            raise InputError("attack 'unet'", f"a width of {WIDTHS}", str(width), "choose one")
        self._n_channels = width
        super().__init__(shape, n_steps, batch_size, learning_rate)
        self.register_buffer("mean", torch.zeros(self.shape))
        self.register_buffer("prior", torch.ones(self.shape))
        self.register_buffer("noise_std", torch.ones(1))
        self.register_buffer("width", torch.full((1,), float(width)))

    def make_network(self) -> nn.Module:
        return UNet(N_INPUTS, 1, self._n_channels)

    def prepare(self, images: Tensor, noise_std: float, generator: torch.Generator) -> None:
        known = spread(images.float(), generator)
        self.mean, self.prior = known.mean, known.prior
        self.noise_std = images.new_full((1,), noise_std)

    def predict(self, measurement: Tensor, mask: Tensor) -> Tensor:
        zero_filled = zero_fill(measurement)
        start = wiener(measurement, mask, fft2c(self.mean), self.prior, self.noise_std)
        mean = self.mean.expand_as(start)
        given = (zero_filled.real, zero_filled.imag, mask, mean, start - mean)
        output: Tensor = self.network(torch.stack(given, dim=1))
        return start + output[:, 0]

    def _resize(self, arrays: Mapping[str, np.ndarray]) -> None:
        width = arrays.get("width")
        if width is None or width.shape != (1,) or width[0] not in WIDTHS:
            raise InputError("attack 'unet'", f"a width of {WIDTHS}", "another", "fit it again")
        self._n_channels = int(width[0])
        self.network = self._fresh(0).to(self.mean.device)
