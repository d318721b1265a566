"""Points drawn from a normal density about the zero frequency."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from infomri_core.patterns.gaussian import gaussian_mask
from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.pattern import Pattern
from infomri_core.tasks.task import Rule


@final
@dataclass(frozen=True)
class Gaussian(SamplerOptions):
    """An arm's ``sampler = "gaussian"``: distinct points, density of ``std`` points about the
    centre, after a disc of ``centre_radius`` points (0: as ProM's baseline, which has none)."""

    std: float = 35.0
    centre_radius: float = 0.0

    name = "gaussian"
    title = "Gaussian"
    style = Style("2-D Gaussian", "#56B4E9", "X", "x")

    def tags(self) -> tuple[str, ...]:
        disc = (f"r{self.centre_radius:g}",) if self.centre_radius else ()
        return (f"std{self.std:g}", *disc)

    def rules(self, setting: Setting) -> list[Rule]:
        radius = self.centre_radius
        return [
            (0 < self.std <= 1e4, "std", "0 < std <= 10000 points", self.std),
            (0 <= radius <= 1e4, "centre_radius", "0 .. 10000 points", radius),
        ]

    def describe(self) -> str:
        return f"random points about the centre, normal density of {self.std:g} points"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Pattern:
        return Pattern(self._mask, setting)

    def _mask(self, grid: tuple[int, int], n: int, generator: Randomness) -> Tensor:
        return gaussian_mask(grid, n, self.std, generator, self.centre_radius)
