"""Laws of the one-run audit of DP: monotone, nothing from chance, never above the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.errors import InputError
from infomri_core.privacy.canaries import Guesses, epsilon_lower_bound, guess, p_value


@settings(max_examples=20)
@given(st.integers(1, 60), st.integers(0, 59), st.sampled_from([0.0, 1e-5]))
def test_more_right_guesses_prove_more(made: int, right: int, delta: float) -> None:
    right = min(right, made - 1)
    fewer, more = (Guesses(100, made, right + k) for k in (0, 1))
    assert epsilon_lower_bound(fewer, delta) <= epsilon_lower_bound(more, delta)


@given(st.integers(2, 60), st.floats(0, 5), st.floats(0, 5))
def test_a_larger_epsilon_is_harder_to_refute(made: int, a: float, b: float) -> None:
    guesses = Guesses(60, made, made - 1)
    low, high = sorted((a, b))
    assert p_value(guesses, low) <= p_value(guesses, high) + 1e-12


def test_delta_and_confidence_only_weaken_what_is_proved() -> None:
    guesses = Guesses(200, 100, 90)
    bounds = [epsilon_lower_bound(guesses, delta) for delta in (0.0, 1e-5, 1e-3, 0.1)]
    assert bounds == sorted(bounds, reverse=True)
    assert epsilon_lower_bound(guesses, confidence=0.99) < bounds[0]


@given(st.integers(1, 200))
def test_guesses_at_chance_prove_nothing(half: int) -> None:
    assert epsilon_lower_bound(Guesses(2 * half, 2 * half, half)) == 0


def test_all_right_without_delta_is_the_closed_form() -> None:
    q = 0.05 ** (1 / 100)
    assert epsilon_lower_bound(Guesses(100, 100, 100)) == pytest.approx(
        np.log(q / (1 - q)), abs=1e-5
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0, 3.0])
def test_randomised_response_is_never_proved_worse_than_it_is(epsilon: float) -> None:
    """At confidence 95 %, at most 5 % of the audits may exceed the true epsilon."""
    generator = np.random.default_rng(7)
    n, audits = 200, 200
    honest = generator.random((audits, n)) < 1 / (1 + np.exp(-epsilon))
    bounds = [epsilon_lower_bound(Guesses(n, n, int(row.sum()))) for row in honest]
    assert np.mean(np.array(bounds) > epsilon) <= 0.05 + 2 * (0.05 * 0.95 / audits) ** 0.5
    if epsilon >= 1:
        assert np.mean(bounds) > epsilon / 2


def test_abstaining_keeps_the_surest_guesses() -> None:
    generator = np.random.default_rng(1)
    inserted = generator.random(1000) < 0.5
    scores = inserted + generator.normal(size=1000)
    few, many = guess(scores, inserted, 100), guess(scores, inserted, 1000)
    assert few.n_right / few.n_made > many.n_right / many.n_made
    assert (many.n_canaries, many.n_made) == (1000, 1000)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(InputError):
        p_value(Guesses(10, 5, 6), 1.0)
    with pytest.raises(InputError):
        guess(np.zeros(3), np.zeros(3, bool), 4)
    with pytest.raises(InputError):
        epsilon_lower_bound(Guesses(10, 5, 5), confidence=0.1)
