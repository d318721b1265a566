"""A policy as a sampler: masks drawn from its probabilities under an exact budget."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.masks import Method, draw_masks
from infomri_core.sampling.policy import Constraint, SamplingPolicy
from infomri_core.sampling.sampler import MaskSampler


@final
@dataclass(frozen=True)
class InclusionMasks:
    """Masks in which each unit is sampled with its ``probability`` (H, W) (:func:`draw_masks`)."""

    probability: Tensor
    constraint: Constraint = "2d"
    method: Method = "systematic"

    def draw(self, n_masks: int, generator: Randomness) -> Tensor:
        return draw_masks(self.probability, n_masks, self.constraint, self.method, generator)


@final
class Amortised(MaskSampler):
    """One ``policy`` for all ratios; masks are drawn by ``method``."""

    def __init__(self, policy: SamplingPolicy, method: Method = "systematic") -> None:
        super().__init__()
        self.policy = policy
        self.method: Method = method
        self.shape, self.constraint = policy.shape, policy.constraint

    def at(self, ratio: float) -> InclusionMasks:
        return InclusionMasks(self.policy(ratio), self.constraint, self.method)
