"""What the plan's ``[aggregation] strategy`` does with the sites' weights of a round.

``fedavg``, ``fedprox`` and ``fedadam`` take the sample-weighted mean; FedProx differs at the sites
(:mod:`infomri_core.training.proximal`), FedAdam in the step from the old weights to the new.
``median``, ``trimmed-mean`` and ``multi-krum`` withstand wrong sites
(:mod:`fl_server.aggregation.robust`).
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from fl_server.aggregation.mean import WeightedMean
from fl_server.aggregation.robust import Median, MultiKrum, TrimmedMean
from infomri_core.plan.plan import Aggregation

ServerState = Mapping[str, np.ndarray]
"""What a strategy keeps of an arm between rounds; it stands in the checkpoint."""


class Aggregate(Protocol):
    """One arm's weights of a round, as the replies arrive."""

    def check(self, flat: np.ndarray, n_samples: int) -> int: ...

    def add(self, flat: np.ndarray, n_samples: int) -> None: ...

    def value(self) -> np.ndarray: ...


def aggregate(rules: Aggregation, n: int) -> Aggregate:
    """An empty aggregate of vectors (n,) by the plan's strategy."""
    if rules.strategy == "median":
        return Median(n)
    if rules.strategy == "trimmed-mean":
        return TrimmedMean(n, rules.trim)
    if rules.strategy == "multi-krum":
        return MultiKrum(n, rules.byzantine)
    return WeightedMean(n)


def step(
    rules: Aggregation,
    weights: np.ndarray,
    target: np.ndarray,
    state: ServerState,
    buffers: np.ndarray | None = None,
) -> tuple[np.ndarray, ServerState]:
    """The weights of the next round, float32 (n,), and what to keep, given the round's aggregate
    ``target``.

    FedAdam (Reddi et al. 2021, Algorithm 2): with D = target - weights,
    m = b1 m + (1 - b1) D, v = b2 v + (1 - b2) D^2, weights + rate m / (sqrt(v) + tau); m and v
    start at zero. Where ``buffers`` (n,) holds (BatchNorm's running statistics), the target is
    taken as it is. Every other strategy goes to the target itself and keeps nothing.
    """
    if rules.strategy != "fedadam":
        return target, {}
    gap = target - weights
    zero = np.zeros_like(weights)
    b1, b2 = np.float32(rules.beta_1), np.float32(rules.beta_2)
    mean = b1 * state.get("mean", zero) + (1 - b1) * gap
    square = b2 * state.get("square", zero) + (1 - b2) * np.square(gap)
    rate, tau = np.float32(rules.server_learning_rate), np.float32(rules.tau)
    stepped = weights + rate * mean / (np.sqrt(square) + tau)
    if buffers is not None:
        stepped = np.where(buffers, target, stepped)
    return stepped, {"mean": mean, "square": square}
