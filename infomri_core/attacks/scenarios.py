"""The measurements attackers practise on: every arm, every ratio, fresh masks and noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infomri_core.attacks.base import Policies
from infomri_core.physics.kspace import fft2c, measure
from infomri_core.plan.plan import Constraint
from infomri_core.sampling import SamplingPolicy, VariableDensityPolicy, draw_masks

CONTROL_RATIO = 0.25
CONTROL_EXPONENT = 4.0
CONTROL_SHARE = 0.125


def control_policy(shape: tuple[int, int], constraint: Constraint = "2d") -> SamplingPolicy:
    """Variable density: at ``CONTROL_RATIO`` an attacker worth its name can rebuild the image."""
    return VariableDensityPolicy(shape, constraint, CONTROL_EXPONENT)


@dataclass(frozen=True)
class Scenarios:
    """Sampling probabilities (K, H, W) of all arms and ratios, and the control's (H, W)."""

    probabilities: Tensor
    control: Tensor
    constraint: Constraint
    noise_std: float

    @classmethod
    @torch.no_grad()
    def of(
        cls, policy: Policies, ratios: Sequence[float], noise_std: float, device: torch.device
    ) -> "Scenarios":
        """Those of one policy or several, at each of ``ratios``."""
        policies = [policy] if isinstance(policy, SamplingPolicy) else list(policy)
        constraint = policies[0].constraint
        maps = [p(ratio).to(device) for p in policies for ratio in ratios]
        control = control_policy(policies[0].shape, constraint)(CONTROL_RATIO).to(device)
        return cls(torch.stack(maps), control, constraint, noise_std)

    def with_control(self) -> "Scenarios":
        """The control mask as one more scenario."""
        return replace(self, probabilities=torch.cat((self.probabilities, self.control[None])))

    def measure(
        self, images: Tensor, generator: torch.Generator, control_share: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """y and masks, (B, H, W) each, of images (B, H, W) under one arm and ratio at random.

        With probability ``control_share`` it is the control instead.
        """
        chance = torch.rand(2, generator=generator, device=generator.device).tolist()
        probabilities = self.probabilities[int(chance[0] * len(self.probabilities))]
        if chance[1] < control_share:
            probabilities = self.control
        return self._measure(images, probabilities, generator)

    def each(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """y and masks, (B, H, W) each, of images (B, H, W), arms and ratios dealt evenly."""
        n_maps = len(self.probabilities)
        order = torch.randperm(n_maps, generator=generator, device=generator.device)
        deal = order.to(images.device)[torch.arange(len(images), device=images.device) % n_maps]
        measurement = torch.zeros_like(images, dtype=torch.complex64)
        masks = torch.zeros_like(images)
        for k in deal.unique().tolist():
            rows = deal == k
            measurement[rows], masks[rows] = self._measure(
                images[rows], self.probabilities[k], generator
            )
        return measurement, masks

    def _measure(
        self, images: Tensor, probabilities: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        n = len(images)
        masks = draw_masks(probabilities, n, self.constraint, generator=generator)
        return measure(fft2c(images), masks, self.noise_std, generator), masks
