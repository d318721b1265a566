"""A target in dB in place of beta: how much a suppression weighs is found while it trains.

The task's loss is to be small under the constraint f(r) <= target at every acceleration that is
scored, f being the PSNR in dB that a suppression expects of an attack. Of the augmented Lagrangian
(Bertsekas, Nonlinear Programming, 5.2) the weights descend, the figure weighing
max(0, lambda_a + damping (f - target)), and the multipliers ascend: lambda_a <- max(0, lambda_a +
rate (f - target)), f - target being bounded, each by the steps whose ratio is nearest to its
acceleration's.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import final

import numpy as np
from torch import Tensor

from infomri_core.plan.plan import Arm, Plan
from infomri_core.suppression.base import Penalty, Slope, Suppression, of_masks

KEY = "multipliers"
GAIN = 0.5
"""Nats a dB that a multiplier rises by while the constraint is broken by one dB all along."""
DAMPING = 0.1
"""Nats a dB that one dB beyond the target weighs at once; without it the policy overshoots."""
LARGEST_EXCESS = 0.3
"""dB beyond the target, on either side, that a multiplier moves by at most. While the policy is on
its way from far above, a multiplier that took all of it would grow many times too large, and the
rates of training fall before it is back."""
_LEAST_SHARE = 0.02


@final
class Targeted(Suppression):
    """``inner`` (in dB), held to ``target`` dB by one multiplier for each of ``ratios``.

    ``most`` is what a multiplier may come to, and the beta that training multiplies this figure
    by. The value is the inner figure; the gradient is the inner one times weight / most. The
    first ``held`` of ``n_steps`` leave the multipliers at zero. ``state`` continues one that was
    saved. Multipliers follow from masks and the study centre's statistics, and from no image.
    """

    name = "target"
    unit = "dB"

    def __init__(
        self,
        inner: Suppression,
        target: float,
        most: float,
        ratios: tuple[float, ...],
        ratio_range: tuple[float, float],
        n_steps: int,
        held: int,
        state: np.ndarray | None = None,
    ) -> None:
        super().__init__(inner.device)
        self._inner, self._target, self._most = inner, target, most
        self._logs = np.log(np.sort(ratios))
        self._rates = GAIN / (max(1, n_steps - held) * _shares(np.sort(ratios), ratio_range))
        self._held = held
        self.state = np.zeros(len(ratios) + 1) if state is None else state.copy()
        """The multipliers in nats a dB, by rising ratio, then the steps that were taken."""

    def evaluate(self, masks: Tensor) -> tuple[Tensor, Slope]:
        return self._inner.evaluate(masks)

    def mean(self, masks: Tensor) -> Tensor:
        figure = self._inner.mean(masks)
        value = figure.detach()
        ratio = float(masks.detach().mean())
        place = int(np.abs(self._logs - np.log(max(ratio, 1e-9))).argmin())
        weight = self._weight(place, float(value) - self._target) / self._most
        return value + weight * (figure - value)

    def kept(self) -> dict[str, np.ndarray]:
        return {KEY: self.state}

    def _weight(self, place: int, excess: float) -> float:
        """What the figure weighs in this step, in nats a dB; the multiplier then ascends."""
        weight, held = 0.0, self.state[-1] < self._held
        self.state[-1] += 1
        if not held:
            multiplier = self.state[place]
            weight = self._bounded(multiplier + DAMPING * excess)
            ascent = min(max(-LARGEST_EXCESS, excess), LARGEST_EXCESS)
            self.state[place] = self._bounded(multiplier + self._rates[place] * ascent)
        return weight

    def _bounded(self, value: float) -> float:
        return float(min(max(0.0, value), self._most))


def _shares(ratios: np.ndarray, ratio_range: tuple[float, float]) -> np.ndarray:
    """The share of steps whose ratio, uniform in ``ratio_range``, is nearest to each of them."""
    low, high = ratio_range
    if high <= low:
        return np.ones(len(ratios))
    inner = [float(np.sqrt(a * b)) for a, b in pairwise(ratios)]
    edges = np.clip([low, *inner, high], low, high)
    return np.maximum(np.diff(edges) / (high - low), _LEAST_SHARE)


def targeted(
    plan: Plan, arm: Arm, penalty: Penalty, state: Mapping[str, np.ndarray] | None
) -> Penalty:
    """``penalty`` held to the arm's target, both from where the ``state`` of its training left
    them; the penalty itself of an arm that has none."""
    penalty.resume(state or {})
    if arm.psnr_target is None:
        return penalty
    rates = tuple(1 / a for a in plan.measurement.accelerations)
    held = round(plan.training.beta_warmup * plan.total_steps)
    return Targeted(
        *(of_masks(penalty), arm.psnr_target, arm.beta, rates, plan.measurement.ratio_range),
        *(plan.total_steps, held, (state or {}).get(KEY)),
    )
