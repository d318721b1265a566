"""InfoMRI's sampler: a pattern generator network for all ratios, trained with the task's."""

from dataclasses import dataclass
from typing import final

import torch

from infomri_core.sampling.amortised import Amortised
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.pgn import PaperPatternGenerator, PatternGenerator
from infomri_core.tasks.task import Rule

_PGN = ("platform", "paper")


@final
@dataclass(frozen=True)
class InfoMRI(SamplerOptions):
    """An arm's ``sampler = "infomri"``. ``pgn = "paper"`` takes the network of 16.4 K parameters
    that the paper's count implies, which always starts at random."""

    pgn: str = "platform"

    name = "infomri"
    title = "InfoMRI"
    style = Style("InfoMRI (learned mask)", "#0072B2", "o", "circle")
    learns = True

    def tags(self) -> tuple[str, ...]:
        return () if self.pgn == "platform" else (self.pgn,)

    def rules(self, setting: Setting) -> list[Rule]:
        return [(self.pgn in _PGN, "pgn", " | ".join(_PGN), self.pgn)]

    def describe(self) -> str:
        return "points chosen by a learned policy, at every ratio"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Amortised:
        """Without ``variance`` the pattern starts at random, whatever the setting's start."""
        if self.pgn == "paper":
            paper = PaperPatternGenerator(setting.shape, setting.constraint, generator=generator)
            return Amortised(paper, setting.method)
        policy = PatternGenerator(setting.shape, setting.constraint, generator=generator)
        if setting.start == "spectral" and variance is not None:
            policy.start_spectral(variance)
        return Amortised(policy, setting.method)
