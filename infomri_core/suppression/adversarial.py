"""A U-Net in the loop: what an attacker rebuilds who is trained beside the arm that it attacks."""

from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from infomri_core.models.unet import UNet
from infomri_core.physics.images import MSE_FLOOR
from infomri_core.physics.kspace import zero_fill
from infomri_core.randomness.seeds import derive_seed
from infomri_core.suppression.base import Penalty

WIDTH, DEPTH, RATE = 8, 2, 3e-3
MOST_IMAGES = 8
"""Images of a batch that a step looks at: half the usual batch, and half the cost."""
KEY = "attacker"


@final
class Attacker(nn.Module):
    """y and masks (B, H, W) to images (B, H, W): a mean image, learned, and a small U-Net's change
    of it, which is given the zero-filled image (real, imaginary) and the mask."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(shape))
        self.network = UNet(3, 1, WIDTH, DEPTH)

    def forward(self, measurement: Tensor, masks: Tensor) -> Tensor:
        filled = zero_fill(measurement)
        change: Tensor = self.network(torch.stack((filled.real, filled.imag, masks), 1))
        return self.mean + change[:, 0]


@final
class AdversarialQuality(Penalty):
    """PSNR in dB that a small U-Net reaches on the batch: -10 log10 of its mean squared error.

    Sampler and attacker play min max E[task + beta PSNR] (Goodfellow et al. 2014, with PSNR in
    place of a discriminator's loss). Each step of an arm is one step of Adam of the attacker, on
    the same forward and backward pass. It lives with the site: trained on its images, kept beside
    the optimizer's state, never sent and never averaged.

    The slope in a point of the mask is the network's own derivative, no difference of two masks:
    that would take a pass a point. It is right in sign and order where one point changes little of
    what the network makes of the rest.
    """

    name: ClassVar[str] = "adversarial"
    unit: ClassVar[str] = "dB"
    trained_against: ClassVar[tuple[str, ...]] = ("unet",)
    of_images: ClassVar[bool] = True

    def __init__(self, variance: Tensor, noise_std: float) -> None:
        super().__init__(variance.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(KEY))
            self.attacker = Attacker(tuple(variance.shape[-2:])).to(variance.device)
        self._weights = list(self.attacker.parameters())
        self._optimizer = torch.optim.Adam(self._weights, lr=RATE, fused=True)
        self._begun = False

    def of(self, images: Tensor, measurement: Tensor, masks: Tensor) -> Tensor:
        images = images[:MOST_IMAGES]
        sampled = measurement[:MOST_IMAGES], masks[:MOST_IMAGES]
        if not self._begun:
            self._begin(images)
        y, mask = (part.detach().requires_grad_() for part in sampled)
        figure = self.quality(images, y, mask)
        of_y, of_mask, *of_weights = torch.autograd.grad(figure, (y, mask, *self._weights))
        for parameter, gradient in zip(self._weights, of_weights):
            parameter.grad = -gradient
        self._optimizer.step()
        slope = (of_y.conj() * sampled[0]).real.sum() + (of_mask * sampled[1]).sum()
        return figure.detach() + slope - slope.detach()

    def quality(self, images: Tensor, measurement: Tensor, masks: Tensor) -> Tensor:
        """The figure (dB) by the attacker as it is; the arguments are those of :meth:`of`."""
        error = (self.attacker(measurement, masks) - images).square().mean()
        return -10 * torch.log10(error.clamp_min(MSE_FLOOR))

    def kept(self) -> dict[str, np.ndarray]:
        if not self._begun:
            return {}
        slots = [self._optimizer.state[p] for p in self._weights]
        means, squares = ([slot[key] for slot in slots] for key in ("exp_avg", "exp_avg_sq"))
        return {
            KEY: np.stack([_flat(part) for part in (self._weights, means, squares)]),
            f"{KEY} steps": np.array([float(slots[0]["step"])], np.float32),
        }

    def resume(self, kept: Mapping[str, np.ndarray]) -> None:
        if KEY not in kept:
            return
        sizes = [p.numel() for p in self._weights]
        parts = torch.from_numpy(kept[KEY].copy()).to(self.device)
        steps = float(kept[f"{KEY} steps"][0])
        for parameter, value, mean, square in zip(
            self._weights, *(part.split(sizes) for part in parts)
        ):
            parameter.data.copy_(value.view_as(parameter))
            self._optimizer.state[parameter] = {
                "step": torch.tensor(steps, device=self.device),
                "exp_avg": mean.view_as(parameter).clone(),
                "exp_avg_sq": square.view_as(parameter).clone(),
            }
        self._begun = True

    @torch.no_grad()
    def _begin(self, images: Tensor) -> None:
        """The mean image begins as the first batch's."""
        self.attacker.mean.copy_(images.mean(0))
        self._begun = True


def _flat(tensors: list[Tensor] | list[nn.Parameter]) -> np.ndarray:
    return torch.cat([t.detach().flatten() for t in tensors]).cpu().numpy()
