"""Laws of the one-run audit of DP: monotone, nothing from chance, never above the truth."""

from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.data import open_dataset
from infomri_core.dp_audit import canaries_training
from infomri_core.dp_audit.canaries import Guesses, epsilon_lower_bound, guess, p_value
from infomri_core.dp_audit.canaries_training import audit_dp
from infomri_core.plan.reading import parse_plan
from infomri_core.system.errors import InputError
from tests.support.small import AUDIT_URI, small_plan, small_table


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(0, 59), st.sampled_from([0.0, 1e-5]))
def test_more_right_guesses_prove_more(made: int, right: int, delta: float) -> None:
    right = min(right, made - 1)
    fewer, more = (Guesses(100, made, right + k) for k in (0, 1))
    assert epsilon_lower_bound(fewer, delta) <= epsilon_lower_bound(more, delta)


@settings(deadline=None)
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


@settings(deadline=None)
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
    scores = inserted - 0.5 + generator.normal(size=1000)
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


def _audited(noise_multiplier: float, rate: float = 0.2, **settings: Any) -> dict[str, Any]:
    """An audit of twelve steps on phantoms of 16 patients, a fifth of all units a step."""
    table = small_table(rounds=3, local_steps=2)
    table["privacy"] = {"noise_multiplier": noise_multiplier, "rate": rate}
    plan = parse_plan(tomli_w.dumps(table))
    data = open_dataset(AUDIT_URI)
    images = data.images(np.arange(len(data)))
    labels = torch.from_numpy(data.table.labels.astype(np.float32))
    variance = torch.full((2, 32, 32), 0.1)
    return audit_dp(
        *(plan, plan.arms[1], images, labels, data.table.patients, variance, 3),
        **{"n_canaries": 84, "study_epsilon": 6.0, **settings},
    )


@pytest.fixture(scope="module")
def audited() -> dict[str, Any]:
    return _audited(1.0)


def test_what_is_proved_of_real_training_is_never_above_what_is_accounted(
    audited: dict[str, Any],
) -> None:
    assert 0 <= audited["epsilon_lower_bound"] <= audited["epsilon_accounted"]
    assert audited["epsilon_accounted"] == pytest.approx(6.0, rel=0.1)
    assert audited["steps"] == 12


def test_with_hardly_any_noise_the_audit_wins(audited: dict[str, Any]) -> None:
    control = audited["control"]
    assert control["epsilon_lower_bound"] > 1.5
    assert control["epsilon_lower_bound"] <= control["largest_provable"]


def test_a_clip_that_does_not_clip_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries ten clips long come through whole: more is proved than the accountant says."""
    monkeypatch.setattr(
        canaries_training, "clip_weights", lambda squares, clip: torch.ones_like(squares)
    )
    broken = _audited(4.0)
    assert broken["epsilon_lower_bound"] > broken["epsilon_accounted"]


def test_an_audit_that_is_stopped_accounts_for_the_steps_it_made() -> None:
    steps = iter(range(100))
    stopped = _audited(1.0, cancelled=lambda: next(steps) >= 16)
    assert 0 < stopped["steps"] < stopped["steps_of_the_study"]
    assert stopped["epsilon_accounted"] < 6.1


def test_without_privacy_there_is_nothing_to_audit() -> None:
    with pytest.raises(InputError, match="privacy"):
        audit_dp(
            *(small_plan(), small_plan().arms[1], torch.zeros(2, 32, 32), torch.zeros(2, 1)),
            *(np.arange(2), torch.ones(2, 32, 32), 0),
        )
