"""Equispaced columns with a fully sampled centre, the usual pattern of scanners."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from infomri_core.patterns.equispaced import CENTRE, exact_equispaced
from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.pattern import Pattern
from infomri_core.tasks.task import Rule


@final
@dataclass(frozen=True)
class Equispaced(SamplerOptions):
    """An arm's ``sampler = "equispaced"``: ``centre`` is the share of columns in the middle.

    Undefined where the centre alone is the budget: at 4 % and 256 columns from 26x on.
    """

    centre: float = CENTRE

    name = "equispaced"
    title = "equispaced"
    style = Style("equispaced", "#E69F00", "v", "triangle-down")

    def tags(self) -> tuple[str, ...]:
        return () if self.centre == CENTRE else (f"c{self.centre:g}",)

    def rules(self, setting: Setting) -> list[Rule]:
        width = setting.shape[1]
        n_centre, least = round(self.centre * width), setting.ratio_range[0] * width
        left = f"ratios of more than the centre's {n_centre} of {width} columns (ratio_range)"
        return [
            (0 <= self.centre < 1, "centre", "0 <= centre < 1", self.centre),
            self.only("1d", setting),
            (int(least + 1e-9) > n_centre, "sampler", left, setting.ratio_range[0]),
        ]

    def describe(self) -> str:
        return f"equally spaced columns, and {self.centre:.0%} of them in the middle"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Pattern:
        return Pattern(self._mask, setting)

    def _mask(self, grid: tuple[int, int], n: int, generator: Randomness) -> Tensor:
        return exact_equispaced(grid[1], n, generator, self.centre)
