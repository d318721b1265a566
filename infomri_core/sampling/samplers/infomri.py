"""InfoMRI's sampler: a pattern generator network for all ratios, trained with the task's."""

from dataclasses import dataclass
from typing import final

import torch

from infomri_core.sampling.amortised import Amortised
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.pgn import PatternGenerator


@final
@dataclass(frozen=True)
class InfoMRI(SamplerOptions):
    """An arm's ``sampler = "infomri"``."""

    name = "infomri"
    title = "InfoMRI"
    style = Style("InfoMRI (learned mask)", "#0072B2", "o", "circle")
    learns = True

    def describe(self) -> str:
        return "points where a learned pattern finds them useful, at every ratio"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Amortised:
        """Without ``variance`` the pattern starts at random, whatever the setting's start."""
        policy = PatternGenerator(setting.shape, setting.constraint, generator=generator)
        if setting.start == "spectral" and variance is not None:
            policy.start_spectral(variance)
        return Amortised(policy, setting.method)
