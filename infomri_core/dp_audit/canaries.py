"""A one-run audit of differential privacy: what inserted canaries prove about epsilon.

Each of m canaries is put into training or left out by a fair coin; afterwards the auditor guesses
the coins of the surest ones. (epsilon, delta)-DP bounds how many guesses can be right, so the
right guesses bound epsilon from below (Steinke, Nasr and Jagielski 2023, Theorem 5.2).
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from infomri_core.system.errors import InputError

SHARES = (0.05, 0.2, 0.5, 1.0)
_LARGEST = 50.0


@final
@dataclass(frozen=True)
class Guesses:
    """``n_right`` of ``n_made`` guesses about ``n_canaries`` coins were right."""

    n_canaries: int
    n_made: int
    n_right: int


def p_value(guesses: Guesses, epsilon: float, delta: float = 0.0) -> float:
    """Bound on the chance of as many right guesses under (epsilon, delta)-DP.

    beta + 2 m delta alpha: beta = P(Binomial(r, q) >= v), q = e^epsilon / (1 + e^epsilon),
    alpha = max over i of P(v - i <= Binomial(r, q) < v) / i (Theorem 5.2). Holds for DP under
    adding or removing a canary; the coins must be independent and fair.
    """
    _check(guesses, delta)
    r, v = guesses.n_made, guesses.n_right
    if v == 0:
        return 1.0
    q = 1 / (1 + np.exp(-epsilon))
    beta = float(binom.sf(v - 1, r, q))
    steps = np.arange(1, v + 1)
    near = np.cumsum(binom.pmf(v - steps, r, q)) / steps
    return min(1.0, beta + 2 * guesses.n_canaries * delta * float(near.max()))


def epsilon_lower_bound(guesses: Guesses, delta: float = 0.0, confidence: float = 0.95) -> float:
    """The largest epsilon that the guesses refute at ``confidence``; 0 when they refute none.

    With probability at least ``confidence`` a mechanism that is (epsilon, delta)-DP is given a
    bound of at most epsilon.
    """
    if not 0.5 <= confidence < 1:
        raise InputError("canaries", "a confidence in [0.5, 1)", str(confidence), "choose 0.95")
    level = 1 - confidence
    if p_value(guesses, 0.0, delta) > level:
        return 0.0
    low, high = 0.0, _LARGEST
    while high - low > 1e-6:
        middle = (low + high) / 2
        refuted = p_value(guesses, middle, delta) <= level
        low, high = (middle, high) if refuted else (low, middle)
    return low


def guess(
    scores: npt.NDArray[np.floating], inserted: npt.NDArray[np.bool_], n_guesses: int
) -> Guesses:
    """Guess of the ``n_guesses`` scores (m,) furthest from zero that the positive ones were
    inserted and the others not; abstain on the rest. ``inserted`` (m,) are the coins.

    Scores come from the mechanism's output alone; ``n_guesses`` is fixed before looking at it.
    """
    n = len(scores)
    if scores.shape != (n,) or inserted.shape != (n,) or not np.isfinite(scores).all():
        got = f"{scores.shape} and {inserted.shape}"
        raise InputError("canaries", "finite scores (m,) and coins (m,)", got, "correct them")
    if not 0 < n_guesses <= n:
        raise InputError("canaries", f"1 to {n} guesses", str(n_guesses), "make fewer guesses")
    surest = np.argsort(-np.abs(scores), kind="stable")[:n_guesses]
    right = ((scores > 0) == inserted)[surest].sum()
    return Guesses(n, n_guesses, int(right))


def best_bound(
    scores: npt.NDArray[np.floating],
    inserted: npt.NDArray[np.bool_],
    delta: float,
    confidence: float = 0.95,
) -> tuple[float, Guesses]:
    """The best lower bound of guessing the surest 5, 20, 50 and 100 % of the canaries.

    Each of the four is held to a quarter of the error (Bonferroni), so that the best of them
    still exceeds the true epsilon with probability 1 - ``confidence`` at most.
    """
    each = 1 - (1 - confidence) / len(SHARES)
    n = len(scores)
    made = [guess(scores, inserted, max(1, round(share * n))) for share in SHARES]
    bounds = [epsilon_lower_bound(g, delta, each) for g in made]
    best = int(np.argmax(bounds))
    return bounds[best], made[best]


def _check(guesses: Guesses, delta: float) -> None:
    if not 0 <= guesses.n_right <= guesses.n_made <= guesses.n_canaries:
        raise InputError("canaries", "right <= made <= canaries", str(guesses), "count again")
    if not 0 <= delta < 1:
        raise InputError("canaries", "a delta in [0, 1)", str(delta), "correct it")
