"""The one loop of optimizer steps: rates, an end between two steps, and what each step said."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar, final

import torch

from infomri_core.system.errors import Cancelled

Said = TypeVar("Said")


class Diverged(Exception):
    """The loss is no longer finite; the message may name the terms that are not."""


@final
@dataclass(frozen=True)
class Stretch:
    """Where a run of steps stands in a whole: it starts at ``first`` of ``total`` steps.

    ``stream`` names the random stream; arms of one seed share it, so that they see the same
    batches and ratios.
    """

    first: int
    n_steps: int
    total: int
    stream: tuple[str | int, ...] = ()


def learning_rate_factor(step: int, total: int) -> float:
    """Linear rise over the first tenth, then a cosine to zero."""
    rise = max(1, total // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def descend(
    optimizer: torch.optim.Optimizer,
    stretch: Stretch,
    gradient: Callable[[int], Said],
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Said]]:
    """Take the steps of ``stretch``; after each comes its number, and what ``gradient`` said.

    ``gradient`` is given the step's number and leaves the gradient in the parameters, whose
    learning rates are their group's ``base`` (``lr`` where it has none) times
    :func:`learning_rate_factor`. Raises ``Cancelled`` between two steps, and what ``gradient``
    raises: ``Diverged`` where the loss is not finite (:func:`finite`). The caller may stop early.
    """
    for group in optimizer.param_groups:
        group.setdefault("base", group["lr"])
    for step in range(stretch.first, stretch.first + stretch.n_steps):
        if cancelled():
            raise Cancelled
        factor = learning_rate_factor(step, stretch.total)
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * factor
        optimizer.zero_grad(set_to_none=True)
        said = gradient(step)
        optimizer.step()
        yield step, said


def finite(loss: torch.Tensor) -> torch.Tensor:
    """``loss``, a scalar. Raises ``Diverged`` unless it is finite."""
    if not torch.isfinite(loss):
        raise Diverged
    return loss
