"""The measurements attackers practise on: every arm, every ratio, fresh masks and noise."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from infomri_core.attacks.base import Policies
from infomri_core.physics.kspace import complex_noise, fft2c
from infomri_core.sampling import Amortised, Sampler, SamplingPolicy, VariableDensityPolicy
from infomri_core.sampling.policy import Constraint

CONTROL_RATIO = 0.25
CONTROL_EXPONENT = 4.0
CONTROL_SHARE = 0.125
Cell = tuple[Sampler, float]
"""A sampler at one of its ratios."""


def control_sampler(shape: tuple[int, int], constraint: Constraint = "2d") -> Sampler:
    """Variable density: at ``CONTROL_RATIO`` an attacker worth its name can rebuild the image."""
    return Amortised(VariableDensityPolicy(shape, constraint, CONTROL_EXPONENT))


@dataclass(frozen=True)
class Scenarios:
    """Each arm's sampler at each ratio, and the control."""

    cells: tuple[Cell, ...]
    control: Cell
    noise_std: float

    @classmethod
    def of(
        cls, policy: Policies, ratios: Sequence[float], noise_std: float, device: torch.device
    ) -> "Scenarios":
        """Those of one sampler or several, at each of ``ratios``."""
        given = [policy] if isinstance(policy, Sampler | SamplingPolicy) else list(policy)
        samplers = [s if isinstance(s, Sampler) else Amortised(s) for s in given]
        cells = tuple((s.to(device), ratio) for s in samplers for ratio in ratios)
        control = control_sampler(samplers[0].shape, samplers[0].constraint).to(device)
        return cls(cells, (control, CONTROL_RATIO), noise_std)

    def with_control(self) -> "Scenarios":
        """The control mask as one more scenario."""
        return replace(self, cells=(*self.cells, self.control))

    def measure(
        self, images: Tensor, generator: torch.Generator, control_share: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """y and masks, (B, H, W) each, of images (B, H, W) under one arm and ratio at random.

        With probability ``control_share`` it is the control instead.
        """
        chance = torch.rand(2, generator=generator, device=generator.device).tolist()
        cell = self.cells[int(chance[0] * len(self.cells))]
        if chance[1] < control_share:
            cell = self.control
        return self._measure(images, cell, generator)

    def each(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """y and masks, (B, H, W) each, of images (B, H, W), arms and ratios dealt evenly."""
        n_cells = len(self.cells)
        order = torch.randperm(n_cells, generator=generator, device=generator.device)
        deal = order.to(images.device)[torch.arange(len(images), device=images.device) % n_cells]
        measurement = torch.zeros_like(images, dtype=torch.complex64)
        masks = torch.zeros_like(images)
        for k in deal.unique().tolist():
            rows = deal == k
            measurement[rows], masks[rows] = self._measure(images[rows], self.cells[k], generator)
        return measurement, masks

    @torch.no_grad()
    def _measure(
        self, images: Tensor, cell: Cell, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        sampler, ratio = cell
        kspace = fft2c(images)
        noise = functools.cache(lambda: complex_noise(kspace, self.noise_std, generator))
        found = sampler.acquire(kspace, ratio, noise, generator)
        return found.y, found.mask
