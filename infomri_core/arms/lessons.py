"""The loss of a sampler that measures in turns and learns from all of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import torch
from torch import Tensor

from infomri_core.sampling.sampler import EveryTurn, Lesson, PolicyGradient, Turn

Losses = Callable[[Turn], Mapping[str, Tensor]]
"""The task's loss terms of each slice, (B,) each, on what a turn has measured."""


def losses_of(lesson: Lesson, turns: Sequence[Turn], losses: Losses) -> dict[str, Tensor]:
    """The mean loss terms of a batch by ``lesson``, with the gradient to network and sampler."""
    if isinstance(lesson, EveryTurn):
        found = [losses(turn) for turn in turns]
        return {name: torch.stack([f[name].mean() for f in found]).mean() for name in found[0]}
    if isinstance(lesson, PolicyGradient):
        return _reinforced(lesson, turns, losses)
    assert_never(lesson)


def _reinforced(
    lesson: PolicyGradient, turns: Sequence[Turn], losses: Losses
) -> dict[str, Tensor]:
    """The terms after the last turn. Their value is that of the network; their gradient has
    sum_t (cost_t - baseline_t) d log p_t added, the score function's estimate of the gradient of
    the expected loss. It is linear in the terms, so any weighted sum of them is right, too."""
    with torch.no_grad():
        costs = [losses(turn) for turn in turns[:-1]]
    last = losses(turns[-1])
    found = {}
    for name, loss in last.items():
        after = torch.stack([*(cost[name] for cost in costs), loss.detach()])
        blame = advantages(after, lesson)
        chances = torch.stack([_log_prob(turn) for turn in turns])
        score = (blame * chances).sum(0).mean()
        found[name] = loss.mean() + (score - score.detach())
    return found


def advantages(after: Tensor, lesson: PolicyGradient) -> Tensor:
    """How much worse each turn of each trajectory went than the others of its slice (T, B), from
    the losses ``after`` each turn (T, B), trajectories of a slice in a row: the loss right after
    it where greedy, else the discounted sum of what the loss rose from that turn on. The mean of
    the *other* trajectories is the baseline, so the estimate stays unbiased."""
    costs = after
    if not lesson.greedy:
        # All trajectories of a slice start from one loss, which the baseline takes away.
        rises = torch.cat((after[:1], after[1:] - after[:-1]))
        sums = [rises[-1]]
        for rise in reversed(rises[:-1]):
            sums.append(rise + lesson.discount * sums[-1])
        costs = torch.stack(sums[::-1])
    n = lesson.trajectories
    grouped = costs.view(len(costs), -1, n)
    return ((grouped - grouped.mean(2, keepdim=True)) * (n / (n - 1))).view_as(costs)


def _log_prob(turn: Turn) -> Tensor:
    assert turn.log_prob is not None
    return turn.log_prob
