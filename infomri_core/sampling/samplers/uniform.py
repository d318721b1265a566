"""Uniform sampling: the plainest mask that learned ones are compared with."""

from dataclasses import dataclass
from typing import final

import torch

from infomri_core.sampling.amortised import Amortised
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.policy import Constraint, SamplingPolicy


@final
class UniformPolicy(SamplingPolicy):
    """Every point of k-space with the same probability."""

    def __init__(self, shape: tuple[int, int], constraint: Constraint = "2d") -> None:
        super().__init__(shape, constraint)
        self.register_buffer("flat", torch.ones(self.grid), persistent=False)

    def density(self, ratio: float) -> torch.Tensor:
        """The same everywhere."""
        return self.get_buffer("flat") * ratio


@final
@dataclass(frozen=True)
class Uniform(SamplerOptions):
    """An arm's ``sampler = "uniform"``."""

    name = "uniform"
    title = "uniform"
    style = Style("uniform", "#009E73", "^", "triangle-up")

    def describe(self) -> str:
        return "points of k-space at random, all equally likely"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Amortised:
        return Amortised(UniformPolicy(setting.shape, setting.constraint), setting.method)
