"""Is the accounted epsilon an upper bound? The exact mechanism on neighbouring sets, composed.

When every patient was drawn at lot / n of the site's own n, neighbours were drawn at different
rates, and how many were drawn gave the difference away: with 100 patients, lot 16, noise 8 and
1000 steps epsilon was reported as 2.85 and is at least 5.10. Now the rate is the plan's.
"""

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom

from infomri_core.dp.accounting import PoissonSampling, epsilon
from infomri_core.randomness.secret_stream import SecretStream

DELTA = 1e-5


def losses(p: np.ndarray, q: np.ndarray, step: float, n: int) -> np.ndarray:
    """The distribution, on a circle of 2 n steps, of log(p / q) under p, each loss rounded down:
    what is composed from it is a lower bound."""
    kept = (p > 0) & (q > 0)
    places = np.floor(np.log(p[kept] / q[kept]) / step).astype(int).clip(-n, n - 1)
    return np.bincount(places + n, weights=p[kept], minlength=2 * n)


def composed_epsilon(p: np.ndarray, q: np.ndarray, steps: int, delta: float) -> float:
    """A lower bound on epsilon at ``delta`` of ``steps`` runs of a mechanism that gives ``p`` on
    one data set and ``q`` on its neighbour: composition by FFT of the privacy loss."""
    kept = (p > 0) & (q > 0)
    loss = np.log(p[kept] / q[kept])
    mean, square = float((p[kept] * loss).sum()), float((p[kept] * loss**2).sum())
    reach = 2 * (abs(steps * mean) + 9 * (steps * square) ** 0.5) + 5
    n = 1 << 18
    one = np.fft.ifftshift(losses(p, q, reach / n, n))
    many = np.fft.fftshift(np.fft.irfft(np.fft.rfft(one) ** steps, 2 * n)).clip(0)
    values = (np.arange(2 * n) - n) * reach / n
    low, high = 0.0, reach
    for _ in range(40):
        middle = (low + high) / 2
        above = values > middle
        spent = float((many[above] * -np.expm1(middle - values[above])).sum())
        low, high = (middle, high) if spent > delta else (low, middle)
    return low


def gaussian_cells(noise: float, shifts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probabilities of cells of a mixture of normal distributions: post-processing of it."""
    edges = np.linspace(-12 * noise, 12 * noise + 1, 20_001)
    mixed = (weights[:, None] * ndtr((edges[None] - shifts[:, None]) / noise)).sum(0)
    return np.diff(mixed)


def true_epsilon(noise: float, rate: float, steps: int) -> float:
    """A lower bound on that of one canary of a clip's length, put in or left out."""
    without = gaussian_cells(noise, np.zeros(1), np.ones(1))
    shifts, weights = np.array([0.0, 1.0]), np.array([1 - rate, rate])
    with_it = gaussian_cells(noise, shifts, weights)
    found = (composed_epsilon(with_it, without, steps, DELTA),)
    return max(*found, composed_epsilon(without, with_it, steps, DELTA))


@pytest.mark.parametrize("rate", [0.01, 0.16, 1.0])
@pytest.mark.parametrize("noise", [0.8, 2.0, 8.0])
@pytest.mark.parametrize("steps", [1, 100, 1000])
def test_the_exact_mechanism_stays_below_what_is_accounted(
    noise: float, rate: float, steps: int
) -> None:
    mechanism = PoissonSampling(rate, steps).mechanism(noise)
    accounted, true = epsilon([mechanism], DELTA), true_epsilon(noise, rate, steps)
    assert true <= accounted
    # The bound is no idle one: it comes to most of what is accounted where that is large enough.
    assert true > 0.5 * accounted - 1 or steps == 1


def test_a_rate_that_follows_the_number_of_patients_broke_the_bound() -> None:
    """The counterexample of lot / n: everybody else's gradient lies along one direction, so that
    the sum tells how many were drawn, of n at lot / n or of n - 1 at lot / (n - 1)."""
    n, lot, noise, steps = 100, 16, 8.0, 1000
    drawn = np.arange(n + 1)
    # The canary pulls the other way: the more, the further from the neighbour's sum.
    alone = np.convolve(binom.pmf(drawn[:n], n - 1, lot / n), [1.0])
    pulled = np.array([1 - lot / n, lot / n])
    shifts = (drawn[:n, None] - np.array([0, 1])[None]).ravel() - lot
    p = gaussian_cells(noise, shifts.astype(float), (alone[:, None] * pulled[None]).ravel())
    q_weights = binom.pmf(drawn[:n], n - 1, lot / (n - 1))
    q = gaussian_cells(noise, drawn[:n].astype(float) - lot, q_weights)
    reported = epsilon([(noise, lot / n, steps)], DELTA)
    assert reported == pytest.approx(2.85, abs=0.05)
    broken = max(composed_epsilon(p, q, steps, DELTA), composed_epsilon(q, p, steps, DELTA))
    assert broken > 1.5 * reported
    same = gaussian_cells(noise, drawn[:n].astype(float) - lot, alone)
    kept = max(composed_epsilon(p, same, steps, DELTA), composed_epsilon(same, p, steps, DELTA))
    assert kept <= reported


def test_the_sampler_does_what_the_accountant_assumes() -> None:
    """Each unit by a coin of its own of the plan's rate, however many there are."""
    stream = SecretStream.public("sampler")
    for n in (40, 41, 160):
        sampling = PoissonSampling(0.16, 1)
        counts = np.array([len(sampling.draw(n, stream)) for _ in range(4000)])
        assert sampling.mechanism(2.0) == (2.0, 0.16, 1)
        assert abs(counts.mean() - 0.16 * n) < 5 * (n * 0.16 * 0.84 / len(counts)) ** 0.5
        assert counts.var() == pytest.approx(n * 0.16 * 0.84, rel=0.15)
