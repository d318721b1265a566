"""Variable-density Poisson disk, the usual random pattern of compressed sensing."""

from dataclasses import dataclass
from typing import final

import torch

from infomri_core.patterns.poisson import poisson_disk_mask
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.pattern import Pattern
from infomri_core.tasks.task import Rule


@final
@dataclass(frozen=True)
class PoissonDisk(SamplerOptions):
    """An arm's ``sampler = "poisson-disk"``."""

    name = "poisson-disk"
    title = "Poisson disk"
    style = Style("Poisson disk", "#F0E442", "h", "hexagon")

    def rules(self, setting: Setting) -> list[Rule]:
        return [self.only("2d", setting)]

    def describe(self) -> str:
        return "random points that keep a distance, denser at the centre"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Pattern:
        return Pattern(poisson_disk_mask, setting)
