"""What attacks are fitted on: the study centre's own patients, and measurements of them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from infomri_core.physics.kspace import complex_noise, fft2c
from infomri_core.sampling import Amortised, Sampler, SamplingPolicy, VariableDensityPolicy
from infomri_core.sampling.policy import Constraint
from infomri_core.system.errors import InputError

Policies = Sampler | SamplingPolicy | Sequence[Sampler | SamplingPolicy]
CONTROL_RATIO = 0.25
CONTROL_EXPONENT = 4.0
CONTROL_SHARE = 0.125
Cell = tuple[Sampler, float]
"""A sampler at one of its ratios."""


def control_sampler(shape: tuple[int, int], constraint: Constraint = "2d") -> Sampler:
    """Variable density: at ``CONTROL_RATIO`` an attacker worth its name can rebuild the image.

    Args:
        shape: (H, W) of the images.
        constraint: Points ("2d") or whole columns ("1d").
    """
    return Amortised(VariableDensityPolicy(shape, constraint, CONTROL_EXPONENT))


@dataclass(frozen=True)
class Scenarios:
    """Each arm's sampler at each ratio, and the control.

    Args:
        cells: Every sampler at every ratio.
        control: The control mask's sampler and ratio.
        noise_std: Standard deviation of the real part of the noise and of its imaginary part.
    """

    cells: tuple[Cell, ...]
    control: Cell
    noise_std: float

    @classmethod
    def of(
        cls, policy: Policies, ratios: Sequence[float], noise_std: float, device: torch.device
    ) -> "Scenarios":
        """Those of one sampler or several.

        Args:
            policy: One or several samplers, or policies whose masks are drawn.
            ratios: Shares of k-space to sample, in (0, 1]; each sampler is taken at each.
            noise_std: As of the dataclass.
            device: Where the samplers are to be.
        """
        given = [policy] if isinstance(policy, Sampler | SamplingPolicy) else list(policy)
        samplers = [s if isinstance(s, Sampler) else Amortised(s) for s in given]
        cells = tuple((s.to(device), ratio) for s in samplers for ratio in ratios)
        control = control_sampler(samplers[0].shape, samplers[0].constraint).to(device)
        return cls(cells, (control, CONTROL_RATIO), noise_std)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The sampling ratios, each once, as they were given."""
        return tuple(dict.fromkeys(ratio for _, ratio in self.cells))

    def at(self, ratio: float) -> "Scenarios":
        """Each arm's sampler at one of the ratios."""
        return replace(self, cells=tuple(cell for cell in self.cells if cell[1] == ratio))

    def only_control(self) -> "Scenarios":
        """The control mask alone."""
        return replace(self, cells=(self.control,))

    def with_control(self) -> "Scenarios":
        """The control mask as one more scenario."""
        return replace(self, cells=(*self.cells, self.control))

    def measure(
        self, images: Tensor, generator: torch.Generator, control_share: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Measure images under one arm and ratio at random.

        Args:
            images: (B, H, W) in [0, 1].
            generator: Of the choice, the masks and the noise.
            control_share: The probability with which it is the control instead.

        Returns:
            y and masks, (B, H, W) each.
        """
        chance = torch.rand(2, generator=generator, device=generator.device).tolist()
        cell = self.cells[int(chance[0] * len(self.cells))]
        if chance[1] < control_share:
            cell = self.control
        return self._measure(images, cell, generator)

    def each(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Measure images, arms and ratios dealt evenly.

        Args:
            images: (B, H, W) in [0, 1].
            generator: Of the deal, the masks and the noise.

        Returns:
            y and masks, (B, H, W) each.
        """
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


@final
@dataclass(frozen=True)
class AuditSet:
    """What every attack is fitted on, and all that it is: the one argument of ``Attack.fit``.

    Args:
        images: (n, H, W) in [0, 1].
        patients: (n,); they keep a patient's slices on one side where a part is held out.
        scenarios: In which the images are measured, and the noise.
        generator: Of all that is drawn in fitting.
        labels: (n, K), for attacks that need them; None where the task has none.
    """

    images: Tensor
    patients: np.ndarray
    scenarios: Scenarios
    generator: torch.Generator
    labels: Tensor | None = None

    @classmethod
    def of(
        cls,
        images: Tensor,
        policy: Policies,
        ratios: Sequence[float],
        noise_std: float,
        generator: torch.Generator,
        patients: np.ndarray | None = None,
    ) -> "AuditSet":
        """One of images under one sampler or several.

        Args:
            images: (n, H, W) in [0, 1].
            policy: One or several samplers, or policies whose masks are drawn.
            ratios: Shares of k-space to sample, in (0, 1]; each sampler is taken at each.
            noise_std: Standard deviation of the real part of the noise and of its imaginary part.
            generator: Of all that is drawn in fitting.
            patients: (n,); without them, each image is a patient of its own.
        """
        scenarios = Scenarios.of(policy, ratios, noise_std, images.device)
        everyone = np.arange(len(images)) if patients is None else patients
        return cls(images, everyone, scenarios, generator)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def noise_std(self) -> float:
        """Standard deviation of real and of imaginary part of the noise."""
        return self.scenarios.noise_std

    def folds(self, n_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """``folds`` of its patients."""
        return folds(len(self), n_folds, self.patients)


def check_images(images: Tensor, shape: tuple[int, int]) -> None:
    """Refuse an audit set that will not do.

    Args:
        images: (n, H, W).
        shape: (H, W) that they must have.

    Raises:
        InputError: No image, another shape, or values that are not finite.
    """
    if images.ndim != 3 or len(images) == 0 or tuple(images.shape[1:]) != shape:
        raise InputError(
            "audit set",
            f"images (n >= 1, {shape[0]}, {shape[1]})",
            str(tuple(images.shape)),
            "use audit data of the study's shape",
        )
    if not bool(torch.isfinite(images).all()):
        raise InputError("audit set", "finite pixels", "NaN or infinity", "fix the audit data")


def folds(
    n_images: int, n_folds: int, patients: np.ndarray | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits (kept, held out) of the indices; each image is held out once.

    Args:
        n_images: How many indices there are.
        n_folds: The most splits.
        patients: (n,), who stay together; without them, blocks of neighbours do.

    Returns:
        Pairs of indices. A set that cannot be split is on both sides.
    """
    everything = np.arange(n_images)
    groups = everything if patients is None else _first_seen(patients)
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        return [(everything, everything)]
    block = groups * min(n_folds, n_groups) // n_groups
    return [(everything[block != k], everything[block == k]) for k in np.unique(block)]


def _first_seen(patients: np.ndarray) -> np.ndarray:
    """Patients numbered in the order in which they first appear."""
    _, first, inverse = np.unique(patients, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse])
