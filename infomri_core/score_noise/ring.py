"""The sums of a scoring as one vector of the ring Z/2^64, to be summed under masks.

The vector begins with a one and the site's (coarse) number of patients. For each attack that was
asked for, in the order of names, follows whether it broke down, by each kind of breakdown; then
the families of :meth:`~infomri_core.score_noise.mechanism.Form.shapes`, with the site's noise. So
of a sum one can read at how many sites an attack broke down, but not at which.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from infomri_core.audit.adversaries import BREAKDOWNS
from infomri_core.messages import EvaluateReply
from infomri_core.score_noise.mechanism import Form, Ints, n_numbers
from infomri_core.score_noise.noised_scores import MAX_SUM

_HEAD = 2
MAX_PATIENTS = 2**30


@dataclass(frozen=True)
class ScoresSum:
    """The sums of ``n_sites`` sites by family, their patients, and at how many of them which
    attack broke down, by what."""

    n_sites: int
    n_patients: int
    failed: Mapping[str, Mapping[str, int]]
    sums: Mapping[str, Ints]


def ring_size(form: Form, attacks: Collection[str]) -> int:
    """Length of the vector."""
    return _HEAD + len(attacks) * len(BREAKDOWNS) + n_numbers(form)


def scores_to_ring(reply: EvaluateReply, form: Form, attacks: Collection[str]) -> np.ndarray:
    """Uint64 (ring_size,): one site's noised sums, of ``attacks`` asked for."""
    broken = [int(reply.failed.get(n) == why) for n in sorted(attacks) for why in BREAKDOWNS]
    head = np.array([1, reply.n_patients, *broken], np.int64)
    parts = [reply.sums[family].reshape(-1) for family in form.shapes()]
    return np.concatenate((head, *parts)).view(np.uint64)


def sum_from_ring(
    total: np.ndarray, form: Form, attacks: Collection[str], n_sites: int
) -> ScoresSum:
    """What the sum ``total`` (ring_size,) of ``n_sites`` vectors says. ``ValueError`` where it
    cannot be one: what is checked of each site's sums where they are seen (the number of patients,
    the size of each sum) is checked of all sites' together."""
    numbers = total.view(np.int64)
    names, n_kinds = sorted(attacks), len(BREAKDOWNS)
    start = _HEAD + len(names) * n_kinds
    broken = numbers[_HEAD:start].reshape(len(names), n_kinds)
    _check(len(numbers) == ring_size(form, attacks) and int(numbers[0]) == n_sites)
    _check(0 <= int(numbers[1]) <= n_sites * MAX_PATIENTS)
    _check(bool((broken >= 0).all()) and bool((broken.sum(1) <= n_sites).all()))
    most = n_sites * MAX_SUM
    _check(bool(((numbers[start:] >= -most) & (numbers[start:] <= most)).all()))
    failed = {
        name: {why: int(n) for why, n in zip(BREAKDOWNS, row, strict=True) if n}
        for name, row in zip(names, broken, strict=True)
        if row.any()
    }
    sums = {}
    for family, shape in form.shapes().items():
        sums[family] = numbers[start : start + prod(shape)].reshape(shape).copy()
        start += prod(shape)
    return ScoresSum(n_sites, int(numbers[1]), failed, sums)


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError("the sum is not one of scores: some masks are left in it")
