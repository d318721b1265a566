"""A U-Net attacker that starts from the closed-form estimate and ends in the measured data."""

import copy
from collections.abc import Mapping, Sequence
from typing import Self, final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.errors import InputError
from infomri_core.kspace import fft2c, zero_fill
from infomri_core.models.unet import UNet
from infomri_core.privacy.attacks.base import Policies, check_images, folds
from infomri_core.privacy.attacks.conjugate import wiener
from infomri_core.privacy.attacks.learned import LearnedAttack
from infomri_core.privacy.attacks.lmmse import LMMSE

WIDTHS = (8, 16, 32, 64)
N_INPUTS = 5
N_STARTS = 3
REST = 0.5
"""Variance the network's answer is left with, relative to the prior's, against the data's."""


@final
class UNetAttack(LearnedAttack):
    """A residual on top of LMMSE, followed by one step of data consistency.

    The network is given the zero-filled image (real, imaginary), the mask, the mean image and the
    LMMSE estimate's deviation from it. Untrained it answers with the LMMSE estimate. While it
    trains, an image's LMMSE comes from a covariance that has not seen the image: one fitted on
    the other folds of patients.
    """

    name = "unet"
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
        self._strangers: list[LMMSE] = []
        self._stranger_of = torch.zeros(0, dtype=torch.long)
        super().__init__(shape, n_steps, batch_size, learning_rate)
        self.start = LMMSE(self.shape)
        self.register_buffer("width", torch.full((1,), float(width)))

    def make_network(self) -> nn.Module:
        return UNet(N_INPUTS, 1, self._n_channels)

    def fit(
        self,
        images: Tensor,
        policy: Policies,
        ratios: Sequence[float],
        noise_std: float,
        generator: torch.Generator,
        patients: np.ndarray | None = None,
    ) -> Self:
        check_images(images, self.shape)
        self.start.fit(images, policy, ratios, noise_std, generator, patients)
        parts = folds(len(images), N_STARTS, patients)
        stranger_of = np.zeros(len(images), dtype=np.int64)
        strangers = []
        for number, (kept, held) in enumerate(parts):
            strangers.append(copy.deepcopy(self.start).refit(images[kept], generator))
            stranger_of[held] = number
        self._strangers = strangers
        self._stranger_of = torch.from_numpy(stranger_of).to(images.device)
        super().fit(images, policy, ratios, noise_std, generator, patients)
        self._strangers = []
        return self

    def predict(self, measurement: Tensor, mask: Tensor) -> Tensor:
        return self._improve(measurement, mask, self.start.reconstruct(measurement, mask))

    def practise(self, measurement: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        start = torch.zeros_like(mask)
        for number, stranger in enumerate(self._strangers):
            part = self._stranger_of[rows] == number
            if part.any():
                start[part] = stranger.reconstruct(measurement[part], mask[part])
        return self._improve(measurement, mask, start)

    def _improve(self, measurement: Tensor, mask: Tensor, start: Tensor) -> Tensor:
        zero_filled, mean = zero_fill(measurement), self.start.mean.expand_as(start)
        given = (zero_filled.real, zero_filled.imag, mask, mean, start - mean)
        change: Tensor = self.network(torch.stack(given, dim=1))
        rebuilt, variance = fft2c(start + change[:, 0]), REST * self.start.prior
        return wiener(measurement, mask, rebuilt, variance, self.start.noise_std)

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        width = arrays.get("width")
        if width is None or width.shape != (1,) or width[0] not in WIDTHS:
            raise InputError("attack 'unet'", f"a width of {WIDTHS}", "another", "fit it again")
        self._n_channels = int(width[0])
        self.network = self._fresh(0).to(self.width.device)
        start = {n.removeprefix("start."): a for n, a in arrays.items() if n.startswith("start.")}
        self.start.make_room(start)

    def derive(self) -> None:
        self.start.derive()
