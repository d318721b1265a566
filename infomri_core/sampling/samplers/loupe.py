"""LOUPE: one learned number for each point of k-space (Bahadir et al. 2020)."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from infomri_core.sampling.amortised import Amortised
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.policy import Constraint, SamplingPolicy
from infomri_core.tasks.task import Rule

SLOPE = 5.0


@final
class LoupePolicy(SamplingPolicy):
    """mu = rescale(sigmoid(5 w), r), w drawn so that the probabilities start uniform."""

    def __init__(
        self,
        shape: tuple[int, int],
        constraint: Constraint = "2d",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(shape, constraint)
        u = 0.01 + 0.98 * torch.rand(self.grid, generator=generator)
        self.weight = nn.Parameter(-torch.log(1 / u - 1) / SLOPE)

    def density(self, ratio: float) -> Tensor:
        return torch.sigmoid(SLOPE * self.weight)


@final
@dataclass(frozen=True)
class Loupe(SamplerOptions):
    """An arm's ``sampler = "loupe"``. As published it is for one ratio; ``any_ratio`` rescales its
    probabilities to each ratio of the study. Masks are binary under an exact budget, with the
    platform's straight-through gradient in place of the published sigmoid of slope 12."""

    any_ratio: bool = False

    name = "loupe"
    title = "LOUPE"
    style = Style("LOUPE (learned mask)", "#CC79A7", "P", "cross")
    learns = True

    def tags(self) -> tuple[str, ...]:
        return ("any",) if self.any_ratio else ()

    def rules(self, setting: Setting) -> list[Rule]:
        one = "a [measurement] ratio_range of one ratio, or any_ratio = true"
        served = self.any_ratio or setting.one_ratio
        return [(served, "sampler", one, setting.ratio_range)]

    def describe(self) -> str:
        return "points by a learned probability of each"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Amortised:
        policy = LoupePolicy(setting.shape, setting.constraint, generator)
        return Amortised(policy, setting.method)
