"""The secret stream: every bit of the key counts, and draws have the distribution they claim."""

from decimal import Decimal, getcontext
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from infomri_core.randomness import secret_stream
from infomri_core.randomness.secret_stream import SecretStream, discrete_gaussian, gaussian
from infomri_core.system.errors import InputError

SECRET = "ab" * 32
N = 200_000


def stream(*context: str | int) -> SecretStream:
    return SecretStream.derived(SECRET, *context)


def test_keys_that_agree_in_all_but_one_bit_give_different_noise() -> None:
    keys = [bytes(32), *(bytes(i) + b"\x80" + bytes(31 - i) for i in range(32))]
    draws = {discrete_gaussian(SecretStream(key), 1e6, 4).tobytes() for key in keys}
    assert len(draws) == len(keys)


def test_the_same_key_gives_the_same_draws_and_the_stream_never_repeats_itself() -> None:
    assert stream("a").bytes(64) == stream("a").bytes(64)
    one = stream("a")
    assert one.bytes(16) + one.bytes(48) == stream("a").bytes(64)
    assert len({SecretStream.fresh(SECRET).bytes(16) for _ in range(8)}) == 8


@pytest.mark.parametrize("other", [("a", "bc"), ("ab", "c", ""), ("abc",), ("ab", 1), ("ab", "1")])
def test_every_context_has_a_stream_of_its_own(other: tuple[str | int, ...]) -> None:
    assert stream(*other).bytes(16) != stream("ab", "c").bytes(16)
    assert stream("ab", 1).bytes(16) != stream("ab", "1").bytes(16)


def test_a_short_secret_or_key_is_refused() -> None:
    with pytest.raises(InputError, match="at least 16 bytes"):
        SecretStream.derived("short", "noise")
    with pytest.raises(InputError, match="32 bytes"):
        SecretStream(b"short")


def test_the_keystream_is_that_of_aes_256_in_counter_mode() -> None:
    # The first block is AES-256 of zeros under a key of zeros.
    assert SecretStream(bytes(32)).bytes(16).hex() == "dc95c078a2408989ad48a21492842087"


def test_integers_coins_and_uniforms_are_uniform() -> None:
    draws = stream("integers")
    counts = np.bincount(draws.integers(7, N), minlength=7)
    assert stats.chisquare(counts).pvalue > 1e-4
    assert stats.kstest(draws.uniform(N), "uniform").pvalue > 1e-4
    share = draws.bernoulli(0.3, N).mean()
    assert abs(share - 0.3) < 5 * (0.21 / N) ** 0.5
    assert draws.bernoulli(1.0, 50).all() and not draws.bernoulli(0.0, 50).any()
    assert draws.integers(1 << 63, 10).min() >= 0


def test_every_order_is_equally_likely_for_odd_and_even_lengths() -> None:
    for n, orders in ((3, 6), (4, 24)):
        rows = stream("orders", n).permutations(24_000, n)
        assert (np.sort(rows, axis=1) == np.arange(n)).all()
        counts = np.unique(rows @ (10 ** np.arange(n)), return_counts=True)[1]
        assert len(counts) == orders and stats.chisquare(counts).pvalue > 1e-4
    assert stream("one").permutation(1).tolist() == [0]


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 31.0])
def test_the_discrete_gaussian_has_the_probabilities_it_claims(sigma: float) -> None:
    draws = discrete_gaussian(stream("small", int(10 * sigma)), sigma, N)
    edge = int(12 * sigma) + 1
    weights = np.exp(-(np.arange(-edge, edge + 1) ** 2) / (2 * sigma**2))
    expected = N * weights / weights.sum()
    observed = np.bincount(draws + edge, minlength=2 * edge + 1)
    often = expected >= 20
    counts = np.append(observed[often], observed[~often].sum())
    means = np.append(expected[often], expected[~often].sum())
    if means[-1] < 5:
        assert counts[-1] < 20
        counts, means = counts[:-1], means[:-1]
    statistic = float(((counts - means) ** 2 / means).sum())
    assert stats.chi2.sf(statistic, len(counts) - 1) > 1e-4


@pytest.mark.parametrize("sigma", [3e4 + 0.5, 2.0**32, 2.0**48])
def test_wide_noise_is_gaussian_by_moments_and_a_ks_test(sigma: float) -> None:
    x = discrete_gaussian(stream("wide", int(sigma)), sigma, N) / sigma
    assert abs(x.mean()) < 5 / N**0.5
    assert x.var() == pytest.approx(1, abs=5 * (2 / N) ** 0.5)
    assert abs(stats.skew(x)) < 5 * (6 / N) ** 0.5
    assert abs(stats.kurtosis(x)) < 5 * (24 / N) ** 0.5
    assert stats.kstest(x, "norm").pvalue > 1e-4


def test_noise_lies_on_its_lattice_and_has_its_scale() -> None:
    noise = gaussian(stream("lattice"), 0.7, (50, 1000), 2.0**-20)
    assert noise.shape == (50, 1000) and (noise * 2.0**20 % 1 == 0).all()
    assert noise.std() == pytest.approx(0.7, rel=0.02)
    assert stats.kstest(stream("normal").normal(N), "norm").pvalue > 1e-4


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-2, 2.0**48))
def test_the_step_function_lies_above_the_density_everywhere(sigma: float) -> None:
    table = secret_stream._table(sigma)
    width = 1 << table.shift
    assert table.slots.sum() <= 1 << 16 and (table.low[1:] - table.low[:-1] == width).all()
    nearest = np.where(table.low >= 0, table.low, table.low + width - 1) / sigma
    assert (np.exp(-(nearest**2) / 2) * table.per_unit <= table.slots).all()
    assert -table.low[0] >= 12 * sigma and table.low[-1] + width >= 12 * sigma


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 2.0**40), st.integers(-4, 4), st.integers(0, 2**64 - 1))
def test_what_float64_decides_is_what_exact_arithmetic_decides(
    sigma: float, sigmas: int, coin: int
) -> None:
    table = secret_stream._table(sigma)
    value = int(sigmas * sigma)
    bin_ = int(np.searchsorted(table.low, value, side="right")) - 1
    slots = int(table.slots[bin_])
    getcontext().prec = 60
    scale = Decimal(table.per_unit) / slots
    chance = (-((Decimal(value) / Decimal(sigma)) ** 2) / 2).exp() * scale
    near = int(chance * 2**64)
    for word in (coin, near + 2**30, near - 2**30, near + 2, near - 2):
        word = min(max(word, 0), 2**64 - 1)
        found = secret_stream._decide(
            stream("decide"), table, np.array([value]), np.array([slots]), np.array([word], "u8")
        )
        if abs(word - near) > 1:
            assert bool(found[0]) == (word < near)


def test_scales_that_cannot_be_are_refused() -> None:
    for sigma in (0.0, -1.0, float("nan"), 2.0**49):
        with pytest.raises(InputError, match="0 < sigma"):
            discrete_gaussian(stream("x"), sigma)


def test_values_of_one_draw_are_independent_of_their_neighbours() -> None:
    x = discrete_gaussian(stream("neighbours"), 1e9, N) / 1e9
    for lag in (1, 2, 65536):
        assert abs(float(np.mean(x[lag:] * x[:-lag]))) < 5 / (N - lag) ** 0.5
    assert all(a != b for a, b in pairwise(x[:1000]))
