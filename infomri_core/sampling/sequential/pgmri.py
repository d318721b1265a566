"""PG-MRI: a policy that is rewarded for what each turn gains (Bakker et al. 2020)."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from infomri_core.physics.kspace import zero_fill
from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.sampler import PolicyGradient
from infomri_core.sampling.sequential.gumbel import gumbel_keys, largest, log_chance
from infomri_core.sampling.sequential.seqmri import start
from infomri_core.sampling.sequential.turns import Choice, Chooser, Sequential, seeded
from infomri_core.tasks.task import Rule

_WIDTH, _POOLS, _HIDDEN = 16, 4, 256


@final
class PolicyNetwork(Chooser):
    """Logits of all units from the zero-filled magnitude: four convolutions with poolings, and
    two hidden layers of 256. Units are drawn without replacement by their softmax over what is
    not taken yet.
    """

    def __init__(self, setting: Setting, variance: Tensor | None) -> None:
        super().__init__()
        widths = [1, *[_WIDTH] * _POOLS]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        n_seen = _WIDTH * math.prod(-(-side // 2**_POOLS) for side in setting.shape)
        self.hidden = nn.Sequential(
            nn.Linear(n_seen, _HIDDEN), nn.LeakyReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.LeakyReLU()
        )
        self.logits = nn.Linear(_HIDDEN, math.prod(setting.grid))
        nn.init.zeros_(self.logits.weight)
        with torch.no_grad():
            self.logits.bias.copy_(start(setting, variance))

    def choose(
        self, y: Tensor, taken: Tensor, counts: Tensor, memory: Any, generator: Randomness
    ) -> Choice:
        image = zero_fill(y).abs()
        scale = image.std((1, 2), keepdim=True).clamp_min(1e-4)
        x = ((image - image.mean((1, 2), keepdim=True)) / scale)[:, None]
        for layer in self.layers:
            x = functional.avg_pool2d(functional.leaky_relu(layer(x)), 2, ceil_mode=True)
        logits = self.logits(self.hidden(x.flatten(1))).nan_to_num()
        keys = gumbel_keys(logits, taken, generator)
        return Choice(largest(keys, counts), None, log_chance(logits, keys, taken, counts))


@final
@dataclass(frozen=True)
class PGMRI(SamplerOptions):
    """An arm's ``sampler = "pg-mri"``: ``centre`` of the budget at the lowest frequencies, the
    rest in ``turns`` (published: one column each). A turn's reward is what the task's loss falls,
    at once where ``greedy``, else with all later gains, each ``discount`` times the one before;
    the baseline is the mean of a slice's ``trajectories``.

    As published the reward is SSIM of a network that was trained before and is frozen, and the
    policy sees its image; here both learn together, on whatever the task's loss is, and the
    policy sees the zero-filled magnitude."""

    turns: int = 4
    centre: float = 0.25
    trajectories: int = 4
    greedy: bool = True
    discount: float = 0.9

    name = "pg-mri"
    title = "PG-MRI"
    style = Style("PG-MRI (decides as it measures)", "#661100", "H", "hexagon2")
    learns = True
    of_patient = True

    def tags(self) -> tuple[str, ...]:
        turns = () if self.turns == 4 else (f"t{self.turns}",)
        return turns if self.greedy else (*turns, "far")

    def rules(self, setting: Setting) -> list[Rule]:
        return [
            (1 <= self.turns <= 64, "turns", "1 .. 64", self.turns),
            (0 <= self.centre <= 0.9, "centre", "0 .. 0.9 of the budget", self.centre),
            (2 <= self.trajectories <= 32, "trajectories", "2 .. 32", self.trajectories),
            (0 <= self.discount <= 1, "discount", "0 .. 1", self.discount),
        ]

    def describe(self) -> str:
        return (
            f"points that a network draws in {self.turns} turns from what it measured before, "
            "rewarded for what each gains: the mask tells of the patient"
        )

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Sequential:
        with seeded(generator):
            chooser = PolicyNetwork(setting, variance)
        lesson = PolicyGradient(self.trajectories, self.greedy, self.discount)
        return Sequential(chooser, setting, self.turns, self.centre, lesson)
