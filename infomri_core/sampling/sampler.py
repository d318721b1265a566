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
class EveryTurn:
    """A sampler that measures in turns learns from the task's loss after each of them, the mean
    over turns, and not of the last one alone."""


@final
@dataclass(frozen=True)
class PolicyGradient:
    """A sampler learns by REINFORCE, from what it drew and how well the task went (Bakker et al.
    2020): a training step measures each slice ``trajectories`` times, two or more, whose mean is
    the baseline of the others.

    Args:
        trajectories: Of each slice in a step.
        greedy: A turn is rewarded by what it gains at once, the trajectories of a slice choosing
            from the same state; else by what all later turns gain, each worth ``discount`` times
            the one before, every trajectory going its own way.
        discount: In [0, 1], unused where greedy.
    """

    trajectories: int
    greedy: bool
    discount: float = 1.0


Lesson = EveryTurn | PolicyGradient
"""How a sampler learns, where it is not by the gradient through its last mask."""


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
    """What of k-space is measured, for images of ``shape`` (H, W); whole columns under "1d".
    With a ``lesson`` it has turns (:meth:`practise`)."""

    shape: tuple[int, int]
    constraint: Constraint
    lesson: Lesson | None = None

    def progress(self, share: float) -> None:
        """Is told before each training step which ``share`` of all steps is done, in [0, 1)."""

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


@final
@dataclass(frozen=True)
class Turn:
    """What had been measured after one turn.

    Args:
        y: Complex (B, H, W), all until then.
        mask: (B, H, W) of zeros and ones.
        log_prob: (B,), log of the probability with which the turn's units were drawn, in their
            order, given what was known; None where the mask itself has a gradient.
    """

    y: Tensor
    mask: Tensor
    log_prob: Tensor | None = None


class TurnSampler(Sampler):
    """A sampler that measures in turns."""

    @abstractmethod
    def practise(
        self, kspace: Tensor, ratio: float, noise: Noise, generator: Randomness
    ) -> list[Turn]:
        """What a training step sees, turn by turn; one at least.

        Args:
            kspace: Complex (B, H, W), without noise.
            ratio: Share of k-space to sample, in (0, 1].
            noise: As in :meth:`acquire`.
            generator: Of the masks' randomness.

        Returns:
            Turns of (B, H, W), or of (B * trajectories, H, W) under :class:`PolicyGradient`, those
            of a slice in a row.
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
