"""The mean of the sites' weights: exact, order independent, and guarded."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_server.aggregation.mean import WeightedMean
from infomri_core.system.errors import InputError

weights = arrays(np.float32, 7, elements=st.floats(-1e3, 1e3, width=32))
replies = st.lists(st.tuples(weights, st.integers(1, 5000)), min_size=1, max_size=6)


def mean_of(items: list[tuple[np.ndarray, int]]) -> np.ndarray:
    mean = WeightedMean(7)
    for flat, n_samples in items:
        mean.add(flat, n_samples)
    return mean.value()


@given(replies, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_mean_is_bitwise_independent_of_the_order(items, random):
    shuffled = list(items)
    random.shuffle(shuffled)
    assert mean_of(items).tobytes() == mean_of(shuffled).tobytes()


@given(replies)
@settings(deadline=None)
def test_the_mean_lies_within_half_a_step_of_the_exact_one(items):
    exact = np.average(
        [flat.astype(np.float64) for flat, _ in items], axis=0, weights=[n for _, n in items]
    )
    error = np.abs(mean_of(items) - exact)
    assert np.all(error <= 2.0**-25 + 2.0**-23 * np.abs(exact))


@given(weights, st.integers(1, 5000))
@settings(deadline=None)
def test_one_site_alone_gets_its_own_weights_back(flat, n_samples):
    np.testing.assert_allclose(mean_of([(flat, n_samples)]), flat, rtol=2e-7, atol=2.0**-25)


def test_memory_does_not_grow_with_the_sites():
    n = 300_000
    mean, flat = WeightedMean(n), np.ones(n, dtype=np.float32)
    mean.add(flat, 1)
    tracemalloc.start()
    mean.add(flat, 1)
    _, first_peak = tracemalloc.get_traced_memory()
    for _ in range(30):
        mean.add(flat, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= first_peak * 1.05
    assert mean.n_samples == 92


@pytest.mark.parametrize(
    ("flat", "n_samples", "expected"),
    [
        (np.array([1.0, np.nan], np.float32), 3, "1 that are not"),
        (np.array([1.0, -np.inf], np.float32), 3, "1 that are not"),
        (np.array([1.0], np.float32), 3, r"shape \(2,\)"),
        (np.array([1.0, 2.0]), 3, "float32"),
        (np.array([1.0, 2.0], np.float32), 0, "at least one sample"),
        (np.array([1.0, -3e38], np.float32), 3, "diverged"),
        (np.array([1.0, 2.0], np.float32), 2**40, "too many samples"),
    ],
)
def test_what_cannot_be_added_is_refused_and_leaves_the_sum_alone(flat, n_samples, expected):
    mean = WeightedMean(2)
    mean.add(np.array([0.5, 1.5], np.float32), 4)
    with pytest.raises(InputError, match=expected):
        mean.add(flat, n_samples)
    np.testing.assert_array_equal(mean.value(), np.array([0.5, 1.5], np.float32))
    assert mean.n_samples == 4


def test_the_mean_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no reply"):
        WeightedMean(3).value()
