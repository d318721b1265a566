"""Adam for probabilities: with an epsilon that knows how large the gradients that matter are."""

import torch

from infomri_core.prom.options import ProMOptions

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class ScaledAdam:
    """Adam (Kingma and Ba 2015) over one tensor, in place.

    Adam divides each position's mean gradient by its own root mean square, so every position
    moves at one speed and the ranking by energy is lost, unless epsilon is about as large as the
    gradient at the edge of the budget. With ``adam-scaled`` epsilon is ``kappa`` times the S-th
    largest running mean of |gradient|: positions inside the budget move fast, those outside
    slowly, whatever the scale of the loss.
    """

    def __init__(self, theta: torch.Tensor, options: ProMOptions, budget: int) -> None:
        self._options, self._budget = options, budget
        self._mean, self._square = torch.zeros_like(theta), torch.zeros_like(theta)
        self._size, self._step = torch.zeros_like(theta), 0

    def step(self, theta: torch.Tensor, gradient: torch.Tensor) -> None:
        """One update of ``theta``."""
        self._step += 1
        self._mean.lerp_(gradient, 1 - _BETA1)
        self._square.lerp_(gradient.square(), 1 - _BETA2)
        self._size.lerp_(gradient.abs(), 1 - _BETA2)
        mean = self._mean / (1 - _BETA1**self._step)
        root = (self._square / (1 - _BETA2**self._step)).sqrt()
        theta.sub_(self._options.learning_rate * mean / (root + self._epsilon()))

    def _epsilon(self) -> torch.Tensor | float:
        if self._options.optimizer == "adam":
            return _EPSILON
        size = self._size.flatten() / (1 - _BETA2**self._step)
        edge = size.topk(self._budget).values[-1]
        return (self._options.kappa * edge).clamp_min(1e-30)
