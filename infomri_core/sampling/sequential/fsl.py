"""FSL-like: outlines regions in what was measured, and measures next where their k-space is."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.models.unet import UNet
from infomri_core.physics.kspace import fft2c, zero_fill
from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.sampler import EveryTurn
from infomri_core.sampling.sequential.seqmri import drawn_by, start
from infomri_core.sampling.sequential.turns import Choice, Chooser, Sequential, seeded
from infomri_core.tasks.task import Rule

_DEPTH, _LOUDNESS, _START = 2, 10.0, 0.1


@final
class RegionNetwork(Chooser):
    """softplus(sum_r w_r log(1 + 10 |F(p_r x)|) + base) within the turn's budget.

    A U-Net makes of the zero-filled image, and of what it made in the turn before, an image x and
    a soft outline p of regions, which sum to one in each pixel. ``base`` is learned, one number a
    unit, and ``w`` one a region; columns are scored by the mean over their points.
    """

    def __init__(
        self, setting: Setting, n_regions: int, width: int, variance: Tensor | None
    ) -> None:
        super().__init__()
        self._columns = setting.constraint == "1d"
        self.network = UNet(3 + n_regions, 1 + n_regions, width, _DEPTH)
        # Regions that weigh the same would have one gradient, and stay alike.
        self.weight = nn.Parameter(_START * torch.linspace(0.5, 1.5, n_regions))
        self.base = nn.Parameter(start(setting, variance))

    def choose(
        self, y: Tensor, taken: Tensor, counts: Tensor, memory: Any, generator: Randomness
    ) -> Choice:
        zero_filled, n_regions = zero_fill(y), len(self.weight)
        if memory is None:
            even = torch.full((len(y), n_regions, *y.shape[1:]), 1 / n_regions).to(taken)
            memory = torch.cat((zero_filled.abs()[:, None], even), dim=1)
        parts = torch.stack((zero_filled.real, zero_filled.imag), dim=1)
        found = self.network(torch.cat((parts, memory), dim=1))
        image, outline = zero_filled.abs()[:, None] + found[:, :1], found[:, 1:].softmax(1)
        spectra = torch.log1p(_LOUDNESS * fft2c(image * outline).abs())
        wanted = (spectra * self.weight[:, None, None]).sum(1)
        wanted = wanted.mean(1) if self._columns else wanted.flatten(1)
        score = functional.softplus(wanted + self.base)
        return Choice(
            drawn_by(score, taken, counts, generator), torch.cat((image, outline), dim=1).detach()
        )


@final
@dataclass(frozen=True)
class FSLLike(SamplerOptions):
    """An arm's ``sampler = "fsl-like"``: ``centre`` of the budget at the lowest frequencies, the
    rest in ``turns``. It follows FSL's idea, outline what was measured and measure next what the
    outline needs, and is not its program: the turns share one network, and the ``regions`` are not
    given but learned from the task's loss after every turn."""

    turns: int = 4
    centre: float = 0.25
    regions: int = 4
    width: int = 8

    name = "fsl-like"
    title = "FSL-like"
    style = Style("FSL-like (decides as it measures)", "#999933", "D", "diamond")
    learns = True
    of_patient = True

    def tags(self) -> tuple[str, ...]:
        return () if self.turns == 4 else (f"t{self.turns}",)

    def rules(self, setting: Setting) -> list[Rule]:
        return [
            (1 <= self.turns <= 64, "turns", "1 .. 64", self.turns),
            (0 <= self.centre <= 0.9, "centre", "0 .. 0.9 of the budget", self.centre),
            (2 <= self.regions <= 16, "regions", "2 .. 16", self.regions),
            (4 <= self.width <= 64, "width", "4 .. 64", self.width),
        ]

    def describe(self) -> str:
        return (
            f"points that a network chooses in {self.turns} turns by the regions that it outlines "
            "in what it measured before: the mask tells of the patient"
        )

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Sequential:
        with seeded(generator):
            chooser = RegionNetwork(setting, self.regions, self.width, variance)
        return Sequential(chooser, setting, self.turns, self.centre, EveryTurn())
