"""PUERT: LOUPE's probabilities, with a gradient that sharpens in training (Zhang et al. 2022)."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.masks import accepted_uniforms
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.policy import SamplingPolicy
from infomri_core.sampling.sampler import MaskSampler
from infomri_core.sampling.samplers.loupe import LoupePolicy
from infomri_core.tasks.task import Rule

_FIRST, _LAST = 0.1, 10.0


def slope_at(share: float) -> float:
    """t of the gradient once ``share`` of the training steps is done: from .1 to 10, evenly in its
    logarithm."""
    return float(_FIRST * (_LAST / _FIRST) ** min(1.0, max(0.0, share)))


@final
@dataclass(frozen=True)
class TanhMasks:
    """m = 1[mu > u], drawn again until the budget is kept, with the gradient
    k t (1 - tanh^2(2 t (mu - u))) to mu, k = max(1 / t, 1), instead of one."""

    probability: Tensor
    grid: tuple[int, int]
    slope: float

    def draw(self, n_masks: int, generator: Randomness) -> Tensor:
        height, width = self.probability.shape
        units = self.probability[: self.grid[0]].flatten()
        u = accepted_uniforms(units.detach().double().clamp(0, 1), n_masks, generator)
        ahead = units - u.to(units)
        hard = (u < units.detach().to(u)).to(units)
        soft = max(1 / self.slope, 1.0) / 2 * torch.tanh(2 * self.slope * ahead)
        masks = (hard + (soft - soft.detach())).view(n_masks, *self.grid)
        return masks.expand(n_masks, height, width).contiguous()


@final
class Puert(MaskSampler):
    """One learned number for each unit, as LOUPE has it; ``progress`` sharpens the gradient."""

    def __init__(self, policy: SamplingPolicy) -> None:
        super().__init__()
        self.policy, self._slope = policy, slope_at(0.0)
        self.shape, self.constraint = policy.shape, policy.constraint

    def at(self, ratio: float) -> TanhMasks:
        return TanhMasks(self.policy(ratio), self.policy.grid, self._slope)

    def progress(self, share: float) -> None:
        self._slope = slope_at(share)


@final
@dataclass(frozen=True)
class PuertOptions(SamplerOptions):
    """An arm's ``sampler = "puert"``: PUERT itself with ``[model] reconstructor = "puert"``. As
    published it is for one ratio; ``any_ratio`` rescales its probabilities to each ratio of the
    study. Masks are drawn by rejection, whose budget is exact; as published one mask serves a
    whole batch, here each slice has its own."""

    any_ratio: bool = False

    name = "puert"
    title = "PUERT"
    style = Style("PUERT (learned mask)", "#DDCC77", "1", "star-triangle-down")
    learns = True
    straight_through = False

    def tags(self) -> tuple[str, ...]:
        return ("any",) if self.any_ratio else ()

    def rules(self, setting: Setting) -> list[Rule]:
        one = "a [measurement] ratio_range of one ratio, or any_ratio = true"
        served = self.any_ratio or setting.one_ratio
        return [(served, "sampler", one, setting.ratio_range)]

    def describe(self) -> str:
        return "points by a learned probability of each, whose gradient grows sharper in training"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Puert:
        return Puert(LoupePolicy(setting.shape, setting.constraint, generator))
