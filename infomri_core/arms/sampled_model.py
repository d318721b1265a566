"""A sampler and a network, trained together on one task."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from infomri_core.arms.lessons import losses_of
from infomri_core.physics.kspace import complex_noise, fft2c, measure
from infomri_core.randomness.draws import Randomness, normal
from infomri_core.sampling import Acquisition, MaskSampler, Sampler, mask_sampler
from infomri_core.sampling.sampler import Lesson, Turn, TurnSampler
from infomri_core.suppression.base import Penalty, of_masks
from infomri_core.tasks.task import SUPPRESSION, Task
from infomri_core.tasks.values import Inspection


@final
@dataclass(frozen=True)
class LossTerms:
    """The terms of the objective, means over a batch.

    Args:
        task: Weighs its losses.
        losses: The task's, by name.
        suppression: Its figure, such as H(Y) in nats.
    """

    task: Task
    losses: Mapping[str, torch.Tensor]
    suppression: torch.Tensor

    def total(self, beta: float) -> torch.Tensor:
        """sum_k w_k term_k + beta H (InfoMRI, Eq. 12 and Algorithm 4).

        Args:
            beta: Below 0 the task asks for the image, and there is no suppression.
        """
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
    """One arm.

    Args:
        task: What is asked.
        sampler: Decides what is measured.
        network: Makes of it what the task asks.
        noise_std: Standard deviation of the real part of the noise and of its imaginary part.
        whitening: (H, W), multiplies what the network sees of k-space; None leaves it as it is.
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
        """Sampling masks, differentiable in what the sampler learns.

        Args:
            ratio: Share of k-space to sample, in (0, 1].

        Returns:
            (n_masks, H, W) of zeros and ones.

        Raises:
            InputError: They depend on what is measured.
        """
        return mask_sampler(self.sampler).at(ratio).draw(n_masks, generator)

    def masks_for(
        self, images: torch.Tensor, ratio: float, generator: torch.Generator
    ) -> torch.Tensor:
        """A mask for each image.

        Args:
            images: (B, H, W); only a sampler that decides as it measures looks at them.
            ratio: Share of k-space to sample, in (0, 1].
        """
        if isinstance(self.sampler, MaskSampler):
            return self.draw(ratio, len(images), generator)
        return self.acquire(images, ratio, generator).mask

    def acquire(
        self, images: torch.Tensor, ratio: float, generator: torch.Generator
    ) -> Acquisition:
        """Sampled noisy k-space, and its masks.

        Args:
            images: (B, H, W) in [0, 1].
            ratio: Share of k-space to sample, in (0, 1].
            generator: Of masks and noise.
        """
        return self.acquire_kspace(fft2c(images), ratio, self.noise_std, generator)

    def acquire_kspace(
        self, kspace: torch.Tensor, ratio: float, noise_std: float, generator: torch.Generator
    ) -> Acquisition:
        """The same of k-space.

        Args:
            kspace: Complex (B, H, W).
            ratio: Share of k-space to sample, in (0, 1].
            noise_std: Of the noise that is added; 0 for k-space that has its own.
            generator: Of masks and noise.
        """
        noise = functools.cache(lambda: complex_noise(kspace, noise_std, generator))
        return self.sampler.acquire(kspace, ratio, noise, generator)

    def measure(
        self, images: torch.Tensor, masks: torch.Tensor, generator: Randomness
    ) -> torch.Tensor:
        """Noisy k-space at given masks (InfoMRI, Eq. 2).

        Args:
            images: (B, H, W) in [0, 1].
            masks: (B, H, W) of zeros and ones.
            generator: Of the noise.
        """
        return measure(fft2c(images), masks, self.noise_std, generator)

    def output(self, measurement: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """The task's output.

        Args:
            measurement: Sampled k-space, complex (B, H, W).
            masks: (B, H, W); without them, sampled is what is not zero.

        Returns:
            (B, ...).
        """
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
        """Samples of what the task outlines.

        Args:
            measurement: Sampled k-space, complex (B, H, W).
            n_samples: Of each slice.
            generator: Of the latents.

        Returns:
            Probabilities (B, n_samples, 1 + K, H, W); None where it outlines nothing.
        """
        seen, _ = self._seen(measurement, None)
        return self.task.outlined(self.network, seen, n_samples, generator)

    def inspect(
        self, measurement: torch.Tensor, masks: torch.Tensor, targets: torch.Tensor
    ) -> Inspection | None:
        """What the task says of the whole network on slices whose targets are known."""
        return self.task.inspect(self.network, *self._seen(measurement, masks), targets)

    def draw_for(self, images: torch.Tensor, generator: Randomness) -> torch.Tensor:
        """What the task's training draws for ``images`` (B, H, W) besides masks and noise."""
        shape = (len(images), self.task.n_drawn(self.network))
        if not shape[1]:
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
        suppression: Penalty,
        generator: torch.Generator,
    ) -> LossTerms:
        """The objective's terms on a batch.

        Args:
            images: (B, H, W) in [0, 1].
            targets: The task's, (B, ...).
            ratio: Share of k-space to sample, in (0, 1].
            suppression: What beta weighs.
            generator: Of masks, noise and latents.
        """
        if self.sampler.lesson is not None:
            turns, losses = self._turns(self.sampler.lesson, images, targets, ratio, generator)
            return LossTerms(
                self.task, losses, of_masks(suppression).mean(turns[-1].mask.detach())
            )
        found = self.acquire(images, ratio, generator)
        drawn = self.draw_for(images, generator)
        output = self.training_output(found.y, found.mask, images, targets, drawn)
        losses = self.task.mean_losses(output, targets)
        return LossTerms(self.task, losses, suppression.of(images, found.y, found.mask))

    def _turns(
        self,
        lesson: Lesson,
        images: torch.Tensor,
        targets: torch.Tensor,
        ratio: float,
        generator: torch.Generator,
    ) -> tuple[list[Turn], dict[str, torch.Tensor]]:
        """The turns of a sampler that learns from all of them, and the mean loss terms; the
        task's own draws are the same after each turn."""
        assert isinstance(self.sampler, TurnSampler)
        kspace = fft2c(images)
        noise = functools.cache(lambda: complex_noise(kspace, self.noise_std, generator))
        turns = self.sampler.practise(kspace, ratio, noise, generator)
        n = len(turns[0].y) // len(images)
        images, targets = images.repeat_interleave(n, 0), targets.repeat_interleave(n, 0)
        drawn = self.draw_for(images, generator)

        def losses(turn: Turn) -> Mapping[str, torch.Tensor]:
            output = self.training_output(turn.y, turn.mask, images, targets, drawn)
            return self.task.losses(output, targets)

        return turns, losses_of(lesson, turns, losses)
