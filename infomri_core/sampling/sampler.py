"""What a sampler is: of a slice's k-space it measures the points of its mask."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

from torch import Tensor, nn

from infomri_core.physics.kspace import sample
from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.policy import Constraint
from infomri_core.system.errors import InputError

Noise = Callable[[], Tensor]
"""The noise (B, H, W) of the whole grid: the same at every call, so that a point has its noise
whenever it is measured. Where it is drawn from the masks' generator, it is drawn at the first
call."""


@final
@dataclass(frozen=True)
class Acquisition:
    """What was measured.

    Args:
        y: Complex (B, H, W), zero where nothing was sampled.
        mask: (B, H, W) of zeros and ones, with a gradient where the sampler learns.
    """

    y: Tensor
    mask: Tensor


class Sampler(nn.Module, ABC):
    """What of k-space is measured, for images of ``shape`` (H, W); whole columns under "1d"."""

    shape: tuple[int, int]
    constraint: Constraint

    @abstractmethod
    def acquire(
        self, kspace: Tensor, ratio: float, noise: Noise, generator: Randomness
    ) -> Acquisition:
        """Measure slices.

        Args:
            kspace: Complex (B, H, W), without noise.
            ratio: Share of k-space to sample, in (0, 1].
            noise: Gives the noise of the whole grid; only what is sampled of it is added.
            generator: Of the mask's randomness.

        Raises:
            InputError: A ratio that it cannot serve.
        """


class MaskDistribution(Protocol):
    """The masks of a sampler at one ratio."""

    @property
    def probability(self) -> Tensor:
        """The chance of each point to be sampled (H, W); with a gradient where it is learned."""

    def draw(self, n_masks: int, generator: Randomness) -> Tensor:
        """Independent masks.

        Returns:
            (n_masks, H, W) of zeros and ones; where the sampler learns, with a straight-through
            gradient to ``probability``.
        """


class MaskSampler(Sampler):
    """A sampler that draws its mask before it measures: the mask says nothing of the patient."""

    @abstractmethod
    def at(self, ratio: float) -> MaskDistribution:
        """Its masks at a ratio.

        Args:
            ratio: Share of k-space to sample, in (0, 1].

        Raises:
            InputError: A ratio that it cannot serve.
        """

    @final
    def acquire(
        self, kspace: Tensor, ratio: float, noise: Noise, generator: Randomness
    ) -> Acquisition:
        mask = self.at(ratio).draw(len(kspace), generator).to(kspace.device)
        return Acquisition(sample(noise() + kspace, mask), mask)


def mask_sampler(sampler: Sampler) -> MaskSampler:
    """``sampler`` as one whose masks can be drawn without a patient.

    Raises:
        InputError: It looks at what it measures.
    """
    if not isinstance(sampler, MaskSampler):
        got = f"{type(sampler).__name__}, which decides as it measures"
        remedy = "choose another arm"
        raise InputError("sampler", "one whose mask says nothing of the patient", got, remedy)
    return sampler
