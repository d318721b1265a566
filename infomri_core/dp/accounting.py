"""From what was done to data to epsilon: Opacus's Renyi accountant over a whole history."""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import numpy.typing as npt

from infomri_core.plan.plan import Moments, Plan, Privacy
from infomri_core.randomness.secret_stream import SecretStream

Mechanism = tuple[float, float, int]
"""Noise multiplier, sampling rate, steps: so many Poisson-subsampled Gaussian mechanisms."""

_ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(12, 64), 80, 96, 128, 192, 256, 512, 1024)


def epsilon(history: Iterable[Mechanism], delta: float) -> float:
    """The epsilon of a whole history, under add/remove adjacency of one unit (patient or slice).

    Args:
        history: Mechanisms in any order.
        delta: At which epsilon holds.

    Returns:
        An upper bound; infinite where noise is absent, zero for an empty history.
    """
    steps: dict[tuple[float, float], int] = {}
    for noise_multiplier, rate, n_steps in history:
        key = (float(noise_multiplier), float(rate))
        steps[key] = steps.get(key, 0) + int(n_steps)
    if not any(steps.values()):
        return 0.0
    from opacus.accountants.analysis import rdp

    total = sum(n * np.array(_divergence(*key)) for key, n in steps.items())
    with warnings.catch_warnings():
        # The best order at an end of the range is still a bound, only not the tightest one.
        warnings.simplefilter("ignore")
        found, _ = rdp.get_privacy_spent(orders=list(_ORDERS), rdp=total, delta=delta)
    return max(0.0, float(found)) if not math.isnan(found) else math.inf


@final
@dataclass(frozen=True)
class PoissonSampling:
    """In each step every unit takes part by a coin of its own.

    What the sampler does and what the accountant assumes, in one value.

    Args:
        rate: The chance of each unit, a constant of the plan: data sets that differ in one unit
            are sampled alike, as add/remove adjacency needs, and epsilon tells nothing of how many
            units there are.
        steps: How many there are.
    """

    rate: float
    steps: int = 1

    def draw(self, n_units: int, stream: SecretStream) -> npt.NDArray[np.int64]:
        """Who takes part in one step.

        Args:
            stream: Secret, and never used again.

        Returns:
            Numbers of units below ``n_units``.
        """
        return stream.poisson_sample(n_units, self.rate)

    def mechanism(self, noise_multiplier: float) -> Mechanism:
        """What all steps cost with noise of ``noise_multiplier`` sensitivities."""
        return noise_multiplier, self.rate, self.steps


def round_mechanism(privacy: Privacy, local_steps: int, n_arms: int) -> Mechanism:
    """What one round does to the training patients (or slices): each arm's every step is a
    mechanism of its own on the same data."""
    sampling = PoissonSampling(privacy.rate, local_steps * n_arms)
    return sampling.mechanism(privacy.noise_multiplier)


def study_epsilon(plan: Plan, n_arms: int, rounds: int) -> float | None:
    """Epsilon, at the plan's delta, of its moments and first rounds, each asked for once.

    Args:
        n_arms: How many are trained.
        rounds: How many rounds count.

    Returns:
        The same at every site; None without ``[privacy]``.
    """
    if plan.privacy is None:
        return None
    history = [moments_mechanism(plan.moments)] if plan.moments is not None else []
    n_steps = plan.training.local_steps * rounds
    history.append(round_mechanism(plan.privacy, n_steps, n_arms))
    return epsilon(history, plan.privacy.delta)


def moments_mechanism(rules: Moments) -> Mechanism:
    """What a release of moments does to everyone whose k-space is in it."""
    return rules.noise_multiplier, 1.0, 1


@lru_cache(maxsize=256)
def _divergence(noise_multiplier: float, rate: float) -> tuple[float, ...]:
    """Renyi divergence of one step at each order."""
    from opacus.accountants.analysis import rdp

    found = rdp.compute_rdp(
        q=rate, noise_multiplier=noise_multiplier, steps=1, orders=list(_ORDERS)
    )
    return tuple(float(x) for x in np.atleast_1d(found))
