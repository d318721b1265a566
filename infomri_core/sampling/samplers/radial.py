"""Pseudo-radial spokes."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from infomri_core.patterns.radial import radial_mask
from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.pattern import Pattern
from infomri_core.tasks.task import Rule


@final
@dataclass(frozen=True)
class Radial(SamplerOptions):
    """An arm's ``sampler = "radial"``: one mask a count of points, the same for every patient."""

    name = "radial"
    title = "radial"
    style = Style("pseudo-radial", "#999999", "*", "star")

    def rules(self, setting: Setting) -> list[Rule]:
        return [self.only("2d", setting)]

    def describe(self) -> str:
        return "points on spokes through the centre, the same for every slice"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Pattern:
        return Pattern(_mask, setting)


def _mask(grid: tuple[int, int], n: int, generator: Randomness) -> Tensor:
    return radial_mask(grid, n)
