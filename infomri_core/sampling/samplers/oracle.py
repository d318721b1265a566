"""The best mask of the phantoms, which is known: how far learning could get."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from infomri_core.data.phantom.oracle import finding_energy
from infomri_core.sampling.amortised import Amortised
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.samplers.spectrum import SpectrumPolicy


@final
@dataclass(frozen=True)
class Oracle(SamplerOptions):
    """An arm's ``sampler = "oracle"``: the points that tell most of the phantoms' findings, one of
    each conjugate pair first. It is computed from what the phantoms are drawn with, so it is a
    yardstick on them and nothing anyone could choose for real images."""

    name = "oracle"
    title = "oracle"
    style = Style("oracle: the best mask, known", "#117733", "8", "octagon")
    yardstick = True

    def describe(self) -> str:
        return "the points that carry most information on the phantoms' findings, computed"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Amortised:
        worth = None if variance is None else _worth(setting.shape).to(variance.device)
        policy = SpectrumPolicy(setting.shape, setting.constraint, "one-sided", worth)
        return Amortised(policy, setting.method)


@lru_cache(maxsize=4)
def _worth(shape: tuple[int, int]) -> Tensor:
    """How much each point (H, W) tells of the findings, all counting alike; of images that are
    not square, the middle."""
    size = max(shape)
    energy = finding_energy(size)
    worth = (energy / energy.sum(dim=(-2, -1), keepdim=True)).sum(dim=0)
    top, left = ((size - n) // 2 for n in shape)
    return worth[top : top + shape[0], left : left + shape[1]]
