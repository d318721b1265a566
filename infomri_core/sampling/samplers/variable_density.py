"""Polynomial variable density: the usual random mask, densest at the centre of k-space."""

from dataclasses import dataclass
from typing import final

import torch

from infomri_core.sampling.amortised import Amortised
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.policy import Constraint, SamplingPolicy
from infomri_core.system.errors import InputError
from infomri_core.tasks.task import Rule


@final
class VariableDensityPolicy(SamplingPolicy):
    """Polynomial variable density: probability ~ (1 - d)^exponent, capped at one.

    d is the distance to the zero frequency relative to the k-space corner, each axis in units of
    its own Nyquist frequency; 1 - d is at least 1e-3, so that no point is ruled out.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        constraint: Constraint = "2d",
        exponent: float = 4.0,
    ) -> None:
        super().__init__(shape, constraint)
        if not 0 < exponent <= 100:
            raise InputError(
                "policy: exponent", "0 < exponent <= 100", str(exponent), "correct it"
            )
        decay = (1 - relative_distance(self.grid)).clamp(min=1e-3) ** exponent
        self.register_buffer("decay", decay, persistent=False)

    def density(self, ratio: float) -> torch.Tensor:
        """min(1, c * decay) with the c that gives mean ``ratio``."""
        decay = self.get_buffer("decay")
        return _capped(decay.flatten(), ratio * decay.numel()).view_as(decay).to(torch.float32)


def relative_distance(grid: tuple[int, int]) -> torch.Tensor:
    """Distance of each point to the zero frequency, float64 ``grid``; the farthest is 1."""
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / max(n // 2, 1) for n in grid]
    distance = torch.hypot(axes[0][:, None], axes[1][None, :])
    return distance / distance.max().clamp(min=1e-12)


def _capped(weights: torch.Tensor, budget: float) -> torch.Tensor:
    """min(1, c * weights) whose sum is ``budget``: the k largest are one, the rest share."""
    ordered = weights.sort(descending=True).values
    rest = ordered.flip(0).cumsum(0).flip(0)
    scale = (budget - torch.arange(len(ordered), device=weights.device)) / rest
    n_full = int((scale * ordered > 1).sum())
    if n_full >= len(ordered):
        return torch.ones_like(weights)
    return (scale[n_full] * weights).clamp(0, 1)


@final
@dataclass(frozen=True)
class VariableDensity(SamplerOptions):
    """An arm's ``sampler = "variable-density"``."""

    exponent: float = 8.0

    name = "variable-density"
    title = "variable density"
    style = Style("variable density", "#D55E00", "s", "square")

    def tags(self) -> tuple[str, ...]:
        return (f"e{self.exponent:g}",)

    def rules(self, setting: Setting) -> list[Rule]:
        return [(0 < self.exponent <= 100, "exponent", "0 .. 100", self.exponent)]

    def describe(self) -> str:
        return f"points at random, denser at the centre (exponent {self.exponent:g})"

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Amortised:
        policy = VariableDensityPolicy(setting.shape, setting.constraint, self.exponent)
        return Amortised(policy, setting.method)
