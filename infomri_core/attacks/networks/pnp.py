"""Plug-and-play: a denoiser trained on the audit set takes the place of a penalty."""

import math
from collections.abc import Mapping
from typing import Any, Self, final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.attacks.audit_set import AuditSet, check_images
from infomri_core.attacks.base import Style
from infomri_core.attacks.linear.conjugate import wiener
from infomri_core.attacks.networks.learned import Batch, Progress
from infomri_core.attacks.networks.refined import WideAttack
from infomri_core.models.unet import UNet
from infomri_core.physics.covariance import spread
from infomri_core.physics.kspace import fft2c
from infomri_core.system.errors import InputError

N_INPUTS = 3
N_ITERATIONS = 10
LEVELS = (0.005, 0.5)
STARTS = (0.5, 0.25, 0.1)
ENDS = (0.1, 0.05, 0.02)


@final
class PlugAndPlayAttack(WideAttack):
    """Half-quadratic splitting: data consistency and denoising in turn, at falling noise levels.

    One small U-Net is trained to take white noise of a known level in [0.005, 0.5] from audit
    images, given the mean image beside it; no mask takes part. The levels of the iterations fall
    geometrically between a start and an end chosen on the held-out images. The first iterate is
    the Wiener estimate under the audit set's stationary prior.
    """

    name = "pnp"
    title = "plug-and-play: a denoiser of such images in place of a penalty"
    style = Style("#F0E442", ":", "dot")
    mean: Tensor
    prior: Tensor
    noise_std: Tensor
    schedule: Tensor

    def __init__(self, shape: tuple[int, int], **options: Any) -> None:
        super().__init__(shape, **options)
        self.register_buffer("mean", torch.zeros(self.shape))
        self.register_buffer("prior", torch.ones(self.shape))
        self.register_buffer("noise_std", torch.ones(1))
        self.register_buffer("schedule", torch.tensor([STARTS[1], ENDS[1]]))

    def make_network(self) -> nn.Module:
        return UNet(N_INPUTS, 1, self.n_channels)

    def fit(self, audit_set: AuditSet) -> Self:
        check_images(audit_set.images, self.shape)
        images = audit_set.images
        known = spread(images, audit_set.generator)
        self.mean, self.prior = known.mean, known.prior
        self.noise_std = images.new_full((1,), audit_set.noise_std)
        self.schedule = images.new_tensor([STARTS[1], ENDS[1]])
        super().fit(audit_set)
        return self

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        truth, size = batch.truth, (len(batch.truth), 1, 1)
        low, high = (math.log(level) for level in LEVELS)
        levels = torch.rand(size, generator=generator, device=generator.device).to(truth)
        levels = (low + (high - low) * levels).exp()
        noise = torch.randn(truth.shape, generator=generator, device=generator.device).to(truth)
        residual = self._denoise(truth + levels * noise, levels) - truth
        return (residual / levels).square().mean()

    def finish(self, batch: Batch) -> None:
        """Choose the noise levels by PSNR on the held-out images, at the weights kept."""
        best = -math.inf
        chosen = self.schedule
        for start in STARTS:
            for end in ENDS:
                self.schedule = self.schedule.new_tensor([start, end])
                quality = self.quality(batch)
                if quality > best:
                    best, chosen = quality, self.schedule
        self.schedule = chosen
        if math.isfinite(best):
            self.history.append(Progress(self.history[-1].step, None, best))

    def predict(self, measurement: Tensor, mask: Tensor) -> Tensor:
        mean = fft2c(self.mean)
        image = wiener(measurement, mask, mean, self.prior, self.noise_std)
        start, end = self.schedule.log()
        for i in range(N_ITERATIONS):
            level = torch.lerp(start, end, i / (N_ITERATIONS - 1)).exp()
            image = self._denoise(image, level.expand(len(image), 1, 1))
            trust = level.square().expand(self.shape)
            image = wiener(measurement, mask, fft2c(image), trust, self.noise_std)
        return image

    def _denoise(self, noisy: Tensor, levels: Tensor) -> Tensor:
        """Images (B, H, W) without the white noise of standard deviation ``levels`` (B, 1, 1)."""
        given = (noisy, levels.expand_as(noisy), self.mean.expand_as(noisy))
        change: Tensor = self.network(torch.stack(given, dim=1))
        return noisy + levels * change[:, 0]

    def make_room(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().make_room(arrays)
        for name, least in (("prior", 1e-12), ("noise_std", 1e-6), ("schedule", 1e-4)):
            if name in arrays and not (arrays[name] >= least).all():
                raise InputError("attack 'pnp'", f"{name} >= {least}", "less", "fit it again")
