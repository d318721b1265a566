"""A sampler and a network, trained together on one task."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from infomri_core.physics.kspace import complex_noise, fft2c, measure
from infomri_core.randomness.draws import Randomness, normal
from infomri_core.sampling import Acquisition, MaskSampler, Sampler, mask_sampler
from infomri_core.suppression.base import Suppression
from infomri_core.tasks.task import SUPPRESSION, Task
from infomri_core.tasks.values import Inspection


@final
@dataclass(frozen=True)
class LossTerms:
    """The terms of the objective, means over a batch: the ``losses`` of the ``task``, and the
    suppression's figure."""

    task: Task
    losses: Mapping[str, torch.Tensor]
    suppression: torch.Tensor

    def total(self, beta: float) -> torch.Tensor:
        """sum_k w_k term_k + beta H (InfoMRI, Eq. 12 and Algorithm 4); beta < 0 asks for the image
        (:meth:`Task.objective`) and has no suppression."""
        wanted = self.task.objective(self.losses, beta)
        return wanted + beta * self.suppression if beta > 0 else wanted

    def unsound(self) -> tuple[str, ...]:
        """Names of the terms that are not finite."""
        return tuple(n for n, v in self.detached().items() if not torch.isfinite(v))

    def detached(self) -> dict[str, torch.Tensor]:
        """The values by name, the suppression last, without their graph."""
        values = {**self.losses, SUPPRESSION: self.suppression}
        return {name: value.detach() for name, value in values.items()}


@final
class SampledModel(nn.Module):
    """One arm: ``sampler`` decides what is measured, ``network`` makes of it what ``task`` asks.

    ``whitening`` (H, W) multiplies what the network sees of k-space; None leaves it as it is.
    """

    def __init__(
        self,
        task: Task,
        sampler: Sampler,
        network: nn.Module,
        noise_std: float,
        whitening: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.sampler = sampler
        self.network = network
        self.whitening: torch.Tensor | None
        self.register_buffer("whitening", whitening)
        self.noise_std = noise_std

    def draw(self, ratio: float, n_masks: int, generator: torch.Generator) -> torch.Tensor:
        """Sampling masks (n_masks, H, W), differentiable in what the sampler learns. Raises
        ``InputError`` where they depend on what is measured."""
        return mask_sampler(self.sampler).at(ratio).draw(n_masks, generator)

    def masks_for(
        self, images: torch.Tensor, ratio: float, generator: torch.Generator
    ) -> torch.Tensor:
        """A mask for each of ``images`` (B, H, W), which a sampler that decides as it measures
        looks at, and no other."""
        if isinstance(self.sampler, MaskSampler):
            return self.draw(ratio, len(images), generator)
        return self.acquire(images, ratio, generator).mask

    def acquire(
        self, images: torch.Tensor, ratio: float, generator: torch.Generator
    ) -> Acquisition:
        """Sampled noisy k-space (B, H, W) of images (B, H, W), and its masks."""
        return self.acquire_kspace(fft2c(images), ratio, self.noise_std, generator)

    def acquire_kspace(
        self, kspace: torch.Tensor, ratio: float, noise_std: float, generator: torch.Generator
    ) -> Acquisition:
        """The same of k-space (B, H, W), with noise of that standard deviation added."""
        noise = functools.cache(lambda: complex_noise(kspace, noise_std, generator))
        return self.sampler.acquire(kspace, ratio, noise, generator)

    def measure(
        self, images: torch.Tensor, masks: torch.Tensor, generator: Randomness
    ) -> torch.Tensor:
        """Noisy k-space (B, H, W) of images (B, H, W) at given ``masks`` (InfoMRI, Eq. 2)."""
        return measure(fft2c(images), masks, self.noise_std, generator)

    def output(self, measurement: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """The task's output (B, ...) from sampled k-space and its masks (B, H, W); without them,
        sampled is what is not zero."""
        return self.task.output(self.network, *self._seen(measurement, masks))

    def training_output(
        self,
        measurement: torch.Tensor,
        masks: torch.Tensor | None,
        images: torch.Tensor | None,
        targets: torch.Tensor,
        drawn: torch.Tensor,
    ) -> Any:
        """The same in training, of which the task's losses are made; ``drawn`` is of
        :meth:`draw_for`."""
        given = (*self._seen(measurement, masks), images, targets, drawn)
        return self.task.training_output(self.network, *given)

    def outlined(
        self, measurement: torch.Tensor, n_samples: int, generator: Randomness
    ) -> torch.Tensor | None:
        """Probabilities (B, n_samples, 1 + K, H, W) of samples of what the task outlines; None
        where it outlines nothing."""
        seen, _ = self._seen(measurement, None)
        return self.task.outlined(self.network, seen, n_samples, generator)

    def inspect(
        self, measurement: torch.Tensor, masks: torch.Tensor, targets: torch.Tensor
    ) -> Inspection | None:
        """What the task says of the whole network on slices whose targets are known."""
        return self.task.inspect(self.network, *self._seen(measurement, masks), targets)

    def draw_for(self, images: torch.Tensor, generator: Randomness) -> torch.Tensor:
        """What the task's training draws for ``images`` (B, H, W) besides masks and noise."""
        shape = (len(images), self.task.n_drawn)
        if not self.task.n_drawn:
            return torch.empty(shape, device=images.device)
        return normal(generator, shape, images.device)

    def _seen(
        self, measurement: torch.Tensor, masks: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network sees of k-space, and the masks."""
        if masks is None:
            masks = (measurement.detach() != 0).to(measurement.real.dtype)
        return measurement if self.whitening is None else measurement * self.whitening, masks

    def loss(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        ratio: float,
        suppression: Suppression,
        generator: torch.Generator,
    ) -> LossTerms:
        """The objective's terms on a batch of images (B, H, W) and the task's ``targets``."""
        found = self.acquire(images, ratio, generator)
        drawn = self.draw_for(images, generator)
        output = self.training_output(found.y, found.mask, images, targets, drawn)
        losses = self.task.mean_losses(output, targets)
        return LossTerms(self.task, losses, suppression.mean(found.mask))
