"""The points of highest energy, in closed form: what no learned mask may fall behind."""

from dataclasses import dataclass
from typing import cast, final

import torch
from torch import Tensor

from infomri_core.patterns.spectrum import KINDS, Kind, spectrum_order
from infomri_core.sampling.amortised import Amortised
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.policy import Constraint, SamplingPolicy
from infomri_core.tasks.task import Rule


@final
class SpectrumPolicy(SamplingPolicy):
    """One for the best units by ``energy`` (H, W), and what is left of the budget for the next.

    Each unit's place in the order, over their number, is part of the model's state: it travels
    with the weights, and a mean over sites leaves it as it is.
    """

    def __init__(
        self, shape: tuple[int, int], constraint: Constraint, kind: Kind, energy: Tensor | None
    ) -> None:
        super().__init__(shape, constraint)
        worth = torch.ones(self.shape) if energy is None else energy
        worth = worth if constraint == "2d" else worth.sum(0, keepdim=True)
        place = torch.empty(worth.numel())
        place[spectrum_order(worth.cpu(), kind)] = torch.arange(worth.numel()) / worth.numel()
        self.register_buffer("place", place)

    def density(self, ratio: float) -> Tensor:
        place = self.get_buffer("place")
        n = torch.arange(len(place), device=place.device, dtype=torch.float64)
        density = torch.zeros_like(place)
        density[place.argsort(stable=True)] = (ratio * len(place) - n).clamp(0, 1).to(density)
        return density.view(self.grid)


@final
@dataclass(frozen=True)
class Spectrum(SamplerOptions):
    """An arm's ``sampler = "spectrum"``: ``kind`` is "both" (by energy alone), "one-sided" (one
    point of each conjugate pair first) or "gain" (the second of a pair counts a third).

    The energy is the variance of k-space that the study's entropy rests on: of the sites' own
    patients where the plan has ``[moments]``, else of the study centre's audit set.
    """

    kind: str = "gain"

    name = "spectrum"
    title = "spectrum"
    style = Style("highest energy", "#000000", "p", "pentagon")

    def tags(self) -> tuple[str, ...]:
        return (self.kind.replace("-", ""),)

    def rules(self, setting: Setting) -> list[Rule]:
        return [(self.kind in KINDS, "kind", " | ".join(KINDS), self.kind)]

    def describe(self) -> str:
        return (
            f"the points where images differ most (kind '{self.kind}'), the same for every patient"
        )

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Amortised:
        energy = None if variance is None else variance.double().sum(0)
        kind = cast(Kind, self.kind)
        policy = SpectrumPolicy(setting.shape, setting.constraint, kind, energy)
        return Amortised(policy, setting.method)
