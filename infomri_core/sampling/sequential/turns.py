"""Measuring in turns: what was measured so far says where to measure next."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from infomri_core.physics.kspace import sample
from infomri_core.randomness.draws import Randomness, device_of, uniform
from infomri_core.sampling.options import Setting
from infomri_core.sampling.policy import check_ratio
from infomri_core.sampling.sampler import (
    Acquisition,
    Lesson,
    Noise,
    PolicyGradient,
    Turn,
    TurnSampler,
)
from infomri_core.sampling.samplers.variable_density import relative_distance

_WHOLE = 1e-6


class Choice(NamedTuple):
    """The units of one turn.

    Attributes:
        units: (B, n) of zeros and ones; with a straight-through gradient, unless the chooser
            learns by policy gradient.
        memory: What the next turn is to remember.
        log_prob: (B,) of having drawn them, where the chooser learns by policy gradient.
    """

    units: Tensor
    memory: Any = None
    log_prob: Tensor | None = None


class Chooser(nn.Module, ABC):
    """Chooses the units of one turn, n units of a grid: points, or whole columns."""

    @abstractmethod
    def choose(
        self, y: Tensor, taken: Tensor, counts: Tensor, memory: Any, generator: Randomness
    ) -> Choice:
        """From ``y`` (B, H, W), all that was measured so far, at the units ``taken`` (B, n): the
        next ``counts`` (B,) units of each slice, none of them taken. ``memory`` is None in the
        first turn."""


@final
class Sequential(TurnSampler):
    """Measures the units nearest to the zero frequency, a share ``centre`` of the budget, and the
    rest in ``n_turns`` equal turns, each chosen by ``chooser`` from what was measured before.

    Every mask has floor or ceil of ratio x n units, that ratio on average. The gradient reaches
    the chooser through each turn's mask, or by its ``lesson``; what it looked at has none (as in
    SeqMRI's code).
    """

    def __init__(
        self,
        chooser: Chooser,
        setting: Setting,
        n_turns: int,
        centre: float,
        lesson: Lesson | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.constraint, self.lesson = setting.shape, setting.constraint, lesson
        self.chooser, self._n_turns, self._centre = chooser, n_turns, centre
        self._grid = setting.grid
        rank = relative_distance(setting.grid).flatten().argsort(stable=True).argsort()
        self.register_buffer("rank", rank, persistent=False)

    def acquire(
        self, kspace: Tensor, ratio: float, noise: Noise, generator: Randomness
    ) -> Acquisition:
        *_, last = self._turns(noise() + kspace, ratio, generator, 1, shared=False)
        return Acquisition(last.y, last.mask)

    def practise(
        self, kspace: Tensor, ratio: float, noise: Noise, generator: Randomness
    ) -> list[Turn]:
        everything, lesson = noise() + kspace, self.lesson
        if not isinstance(lesson, PolicyGradient):
            return list(self._turns(everything, ratio, generator, 1, shared=False))
        n, shared = lesson.trajectories, lesson.greedy
        return list(self._turns(everything.repeat_interleave(n, 0), ratio, generator, n, shared))

    def _turns(
        self, everything: Tensor, ratio: float, generator: Randomness, n_copies: int, shared: bool
    ) -> Iterator[Turn]:
        """Each turn of the slices ``everything`` (B, H, W), with noise; ``n_copies`` in a row are
        of one slice and have one budget. If ``shared``, all of a slice go on from what the first
        of them has measured."""
        check_ratio(ratio)
        rank = self.get_buffer("rank")
        budget = self._budgets(len(everything) // n_copies, ratio, generator).to(rank.device)
        budget = budget.repeat_interleave(n_copies)
        first = (self._centre * budget).floor().long()
        taken = (rank < first[:, None]).to(everything.real.dtype)
        memory = None
        for counts in shares(budget - first, self._n_turns):
            seen = taken.detach()
            y = sample(everything, self._mask(seen)).detach()
            choice = self.chooser.choose(y, seen, counts, memory, generator)
            taken, memory = taken + choice.units, choice.memory
            mask = self._mask(taken).contiguous()
            yield Turn(sample(everything, mask), mask, choice.log_prob)
            if shared:
                taken = taken[::n_copies].repeat_interleave(n_copies, 0)

    def _mask(self, units: Tensor) -> Tensor:
        return units.view(-1, *self._grid).expand(-1, *self.shape)

    def _budgets(self, n_slices: int, ratio: float, generator: Randomness) -> Tensor:
        """How many units each slice may have, (B,) int64, at least one."""
        wanted = self.get_buffer("rank").numel() * ratio
        if abs(wanted - round(wanted)) <= _WHOLE * max(1.0, wanted):
            return torch.full((n_slices,), max(1, round(wanted)))
        device = device_of(generator, torch.device("cpu"))
        more = uniform(generator, (n_slices,), device).double() < wanted % 1
        return (int(wanted) + more.long()).clamp_min(1)


def shares(counts: Tensor, n_turns: int) -> list[Tensor]:
    """``counts`` (B,) in ``n_turns`` parts, the larger ones first; turns without a unit are left
    out."""
    turn = torch.arange(n_turns, device=counts.device)[:, None]
    parts = counts // n_turns + (turn < counts % n_turns)
    return [part for part in parts if bool(part.any())]


def spread(scores: Tensor, taken: Tensor, counts: Tensor) -> Tensor:
    """Probabilities (B, n), float64, that add up to ``counts`` (B,), from ``scores`` (B, n) in
    [0, 1]: the budget operator (InfoMRI, Eq. 17) over the units that are not ``taken`` (B, n)."""
    free = 1 - taken.double()
    n_free, b = free.sum(1, keepdim=True), scores.double() * free
    ratio = (counts[:, None] / n_free.clamp_min(1)).clamp(0, 1)
    tiny = torch.finfo(torch.float64).tiny
    mean = b.sum(1, keepdim=True) / n_free.clamp_min(1)
    shrunk = b * (ratio / mean.clamp_min(tiny))
    grown = 1 - (1 - ratio) / (1 - mean).clamp_min(tiny) * (1 - b)
    return torch.where(mean >= ratio, shrunk, grown) * free


@contextlib.contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Inside, new layers take their first weights from ``generator``, where there is one."""
    with torch.random.fork_rng(devices=[]):
        if generator is not None:
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield
