"""SeqMRI: a network looks at k-space and spreads the next turn's budget (Yin et al. 2021)."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.models.unet import UNet
from infomri_core.physics.kspace import fft2c, reflect, zero_fill
from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.masks import draw_counts
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.sequential.turns import Choice, Chooser, Sequential, seeded, spread
from infomri_core.tasks.task import Rule

_DEPTH, _LOUDNESS = 2, 10.0


@final
class KspaceNetwork(Chooser):
    """softplus(U-Net + base) over its largest value, within the turn's budget.

    The network sees k-space measured and of |x_zf|, each compressed as log(1 + 10 |k|) at its own
    phase, the mask, and the mask of conjugate partners. ``base`` is learned, one number a unit.
    The U-Net starts at zero, so an untrained sampler has a fixed density.
    """

    def __init__(self, setting: Setting, width: int, variance: Tensor | None) -> None:
        super().__init__()
        self._grid, self._shape = setting.grid, setting.shape
        self.network = UNet(6, 1, width, _DEPTH)
        self.base = nn.Parameter(start(setting, variance))

    def choose(
        self, y: Tensor, taken: Tensor, counts: Tensor, memory: Any, generator: Randomness
    ) -> Choice:
        mask = taken.view(-1, *self._grid).expand(-1, *self._shape)
        guessed = fft2c(zero_fill(y).abs())
        seen = [*compressed(y), *compressed(guessed), mask, reflect(mask)]
        wanted = self.network(torch.stack(seen, dim=1))[:, 0]
        wanted = wanted.mean(1, keepdim=True) if self._grid != self._shape else wanted
        score = functional.softplus(wanted.flatten(1) + self.base)
        return Choice(drawn_by(score, taken, counts, generator))


def drawn_by(score: Tensor, taken: Tensor, counts: Tensor, generator: Randomness) -> Tensor:
    """``counts`` (B,) units of each slice that are not ``taken`` (B, n), with chances by ``score``
    (B, n) >= 0 over its largest: zeros and ones (B, n) with a straight-through gradient."""
    free = score * (1 - taken)
    scaled = (free / free.amax(1, keepdim=True).clamp_min(1e-12)).nan_to_num()
    drawn = draw_counts(spread(scaled, taken, counts), counts, generator)
    return drawn.to(score.dtype)


def start(setting: Setting, variance: Tensor | None) -> Tensor:
    """Logits (n,) to begin from: the standardised log energy under a spectral start where
    ``variance`` (2, H, W) of k-space is known, else zero, all units alike."""
    if setting.start == "spectral" and variance is not None:
        energy = variance.double().sum(0).view(*setting.shape)
        energy = energy.sum(0, keepdim=True) if setting.constraint == "1d" else energy
        logs = energy.clamp_min(1e-12 * float(energy.max())).log().flatten()
        logs = (logs - logs.mean()) / logs.std(correction=0).clamp_min(1e-6)
        return (2 * logs - 4).float()
    return torch.zeros(math.prod(setting.grid))


def compressed(kspace: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of k / |k| log(1 + 10 |k|) / log 11."""
    size = kspace.abs()
    factor = torch.log1p(_LOUDNESS * size) / (math.log1p(_LOUDNESS) * size.clamp_min(1e-9))
    return kspace.real * factor, kspace.imag * factor


@final
@dataclass(frozen=True)
class SeqMRI(SamplerOptions):
    """An arm's ``sampler = "seqmri"``: ``centre`` of the budget at the lowest frequencies, the
    rest in ``turns``. As published the network is shown the task's own reconstruction, the centre
    is out of the budget, and the gradient is a sigmoid's; here it is shown the zero-filled
    magnitude, the budget is exact, and the straight-through gradient is the platform's."""

    turns: int = 4
    centre: float = 0.25
    width: int = 8

    name = "seqmri"
    title = "SeqMRI"
    style = Style("SeqMRI (decides as it measures)", "#882255", "<", "triangle-left")
    learns = True
    of_patient = True

    def tags(self) -> tuple[str, ...]:
        return () if self.turns == 4 else (f"t{self.turns}",)

    def rules(self, setting: Setting) -> list[Rule]:
        return [
            (1 <= self.turns <= 64, "turns", "1 .. 64", self.turns),
            (0 <= self.centre <= 0.9, "centre", "0 .. 0.9 of the budget", self.centre),
            (4 <= self.width <= 64, "width", "4 .. 64", self.width),
        ]

    def describe(self) -> str:
        return (
            f"points that a network chooses in {self.turns} turns from what it measured before: "
            "the mask tells of the patient"
        )

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Sequential:
        with seeded(generator):
            chooser = KspaceNetwork(setting, self.width, variance)
        return Sequential(chooser, setting, self.turns, self.centre)
