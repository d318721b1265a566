"""A site's update as one vector of the ring, and what the sum of such vectors says.

The vector begins with the site's samples. For every arm, in the order of their names, follow the
weights times the samples and the samples again (:mod:`infomri_core.secagg.ring`), a one, and the
loss terms times the samples. An arm that diverged at the site is zeros. So of the sum one can
read the mean weights and losses of each arm, over how many samples, and at how many sites it was
trained, but not at which.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from infomri_core.secagg.ring import mean_from_ring, to_ring

LOSS_SCALE = 2**16
MAX_SAMPLES = 2**40

log = logging.getLogger(__name__)


class Update(Protocol):
    """What a site has trained: flat weights and mean loss terms of its arms, over its samples."""

    @property
    def n_samples(self) -> int: ...

    @property
    def arms(self) -> Mapping[str, np.ndarray]: ...

    @property
    def losses(self) -> Mapping[str, Mapping[str, float]]: ...


@dataclass(frozen=True)
class ArmSum:
    """One arm over all sites of a sum: ``block`` is its part of the vector; ``n_sites`` brought
    it through the round, with ``n_samples``; ``losses`` are means over these."""

    block: np.ndarray
    n_sites: int
    n_samples: int
    losses: Mapping[str, float]

    def mean(self) -> np.ndarray:
        """The sample-weighted mean of the weights, float32 (n,). ``ValueError`` of no sample."""
        return mean_from_ring(self.block)[0]


@dataclass(frozen=True)
class UpdateSum:
    """What is known of a round under secure aggregation."""

    n_samples: int
    arms: Mapping[str, ArmSum]


def ring_size(sizes: Mapping[str, int], terms: Sequence[str]) -> int:
    """Length of the vector of arms of these ``sizes``, with losses of these names."""
    return 1 + sum(size + _tail(terms) for size in sizes.values())


def update_to_ring(
    update: Update,
    sizes: Mapping[str, int],
    terms: Sequence[str],
    n_sites: int,
    with_losses: bool,
) -> np.ndarray:
    """Uint64 (ring_size(sizes, terms),): the update of one of ``n_sites``. An arm whose weights or
    losses have no room in the ring counts as diverged; the losses leave zero without
    ``with_losses``."""
    vector = np.zeros(ring_size(sizes, terms), np.uint64)
    vector[0] = update.n_samples
    weights = slice(None, 1 - _tail(terms))
    for name, part in _parts(sizes, terms):
        if name not in update.arms:
            continue
        losses = update.losses.get(name, {}) if with_losses else {}
        try:
            tail = [_loss(losses.get(t, 0.0), update.n_samples, n_sites) for t in terms]
            vector[part][weights] = to_ring(update.arms[name], update.n_samples, n_sites)
        except ValueError as error:
            log.warning("arm %s counts as diverged: %s", name, error)
            continue
        vector[part][weights.stop :] = np.array([1, *tail], np.int64).view(np.uint64)
    return vector


def sum_from_ring(
    total: np.ndarray,
    sizes: Mapping[str, int],
    terms: Sequence[str],
    n_sites: int,
    with_losses: bool,
) -> UpdateSum:
    """What the sum ``total`` of ``n_sites`` vectors says. ``ValueError`` where it cannot be one:
    a mask that did not cancel leaves random counts."""
    n_samples = int(total[0])
    _check(n_sites <= n_samples <= MAX_SAMPLES)
    arms = {}
    for name, part in _parts(sizes, terms):
        block, tail = np.split(total[part], [1 - _tail(terms)])
        tail = tail.view(np.int64)
        seen, trained = int(block[-1]), int(tail[0])
        _check(0 <= trained <= n_sites and trained <= seen <= n_samples)
        _check((seen == 0) == (trained == 0))
        losses = {}
        if with_losses and seen:
            told = zip(terms, tail[1:].tolist(), strict=True)
            losses = {term: value / (LOSS_SCALE * seen) for term, value in told}
        arms[name] = ArmSum(block, trained, seen, losses)
    return UpdateSum(n_samples, arms)


def _tail(terms: Sequence[str]) -> int:
    """Numbers after an arm's weights: its samples, a one, its losses."""
    return 2 + len(terms)


def _parts(sizes: Mapping[str, int], terms: Sequence[str]) -> Iterator[tuple[str, slice]]:
    start = 1
    for name in sorted(sizes):
        yield name, slice(start, start + sizes[name] + _tail(terms))
        start += sizes[name] + _tail(terms)


def _loss(value: float, n_samples: int, n_sites: int) -> int:
    steps = round(value * n_samples * LOSS_SCALE)
    if abs(steps) >= 2**62 // n_sites:
        raise ValueError("a loss too large for the ring")
    return steps


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError("the sum is not one of updates: some masks are left in it")
