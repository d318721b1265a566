"""A-DPS: a recurrent network chooses the next points (Van Gorp et al. 2021)."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from infomri_core.randomness.draws import Randomness
from infomri_core.sampling.options import SamplerOptions, Setting, Style
from infomri_core.sampling.sampler import EveryTurn
from infomri_core.sampling.sequential.gumbel import gumbel_keys, largest
from infomri_core.sampling.sequential.seqmri import start
from infomri_core.sampling.sequential.turns import Choice, Chooser, Sequential, seeded
from infomri_core.tasks.task import Rule

TEMPERATURE = 2.0
_HIDDEN, _FEATURES = 256, 128


@final
class RecurrentChooser(Chooser):
    """Logits of a perceptron over an LSTM's state, which sees the values measured so far, and
    where.

    The units of a turn are those with the largest logits plus Gumbel noise; backwards, counts
    times the softmax of these at temperature 2.
    """

    def __init__(self, setting: Setting, variance: Tensor | None) -> None:
        super().__init__()
        n = math.prod(setting.grid)
        self.encoder = nn.Sequential(
            nn.Linear(2 * math.prod(setting.shape) + n, _HIDDEN),
            nn.LeakyReLU(0.2),
            nn.Linear(_HIDDEN, _FEATURES),
            nn.LeakyReLU(0.2),
        )
        self.state = nn.LSTMCell(_FEATURES, _FEATURES)
        self.hidden = nn.Sequential(nn.Linear(_FEATURES, _HIDDEN), nn.LeakyReLU(0.2))
        self.logits = nn.Linear(_HIDDEN, n)
        nn.init.zeros_(self.logits.weight)
        with torch.no_grad():
            self.logits.bias.copy_(start(setting, variance))

    def choose(
        self, y: Tensor, taken: Tensor, counts: Tensor, memory: Any, generator: Randomness
    ) -> Choice:
        seen = torch.cat((torch.view_as_real(y).flatten(1), taken), dim=1)
        memory = self.state(self.encoder(seen), memory)
        logits = self.logits(self.hidden(memory[0])).nan_to_num()
        keys = gumbel_keys(logits, taken, generator)
        chosen = largest(keys, counts)
        soft = torch.softmax(keys / TEMPERATURE, dim=1) * counts[:, None]
        return Choice(chosen + (soft - soft.detach()), memory)


@final
@dataclass(frozen=True)
class ADPS(SamplerOptions):
    """An arm's ``sampler = "a-dps"``: ``centre`` of the budget at the lowest frequencies
    (published: none), the rest in ``turns`` (published: one point each). The loss is the mean over
    ``every_turn``, as published, at the cost of the task's network once a turn, or that of the
    last. As published the task's network is the encoder; here the sampler has its own, without
    dropout."""

    turns: int = 8
    centre: float = 0.0
    every_turn: bool = True

    name = "a-dps"
    title = "A-DPS"
    style = Style("A-DPS (decides as it measures)", "#44AA99", ">", "triangle-right")
    learns = True
    of_patient = True

    def tags(self) -> tuple[str, ...]:
        turns = () if self.turns == 8 else (f"t{self.turns}",)
        return turns if self.every_turn else (*turns, "last")

    def rules(self, setting: Setting) -> list[Rule]:
        return [
            (1 <= self.turns <= 256, "turns", "1 .. 256", self.turns),
            (0 <= self.centre <= 0.9, "centre", "0 .. 0.9 of the budget", self.centre),
        ]

    def describe(self) -> str:
        return (
            f"points that a recurrent network chooses in {self.turns} turns from what it measured "
            "before: the mask tells of the patient"
        )

    def build(
        self,
        setting: Setting,
        variance: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Sequential:
        with seeded(generator):
            chooser = RecurrentChooser(setting, variance)
        lesson = EveryTurn() if self.every_turn else None
        return Sequential(chooser, setting, self.turns, self.centre, lesson)
