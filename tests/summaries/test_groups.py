"""Groups of patients: the partition of a site, and intervals from sums over its groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infomri_core.summaries.groups import (
    SLOTS,
    coarser,
    groups_within,
    partition,
    patients_behind,
    pooled,
)
from infomri_core.summaries.jackknife import estimate
from infomri_core.summaries.metrics import ImageQuality, ScoreHistogram

STUDIES = 1000


@given(n=st.integers(1, 120), least=st.integers(1, 12), seed=st.integers(0, 99))
def test_every_group_has_the_cohort_and_there_are_at_most_as_many_as_slots(n, least, seed):
    patients = np.random.default_rng(seed).permutation(np.repeat(np.arange(n), 3))
    behind = patients_behind(patients, partition(patients, "key", least))
    assert behind.sum() == n
    used = behind[behind > 0]
    assert len(used) == min(SLOTS, max(1, n // least))
    assert used.min() >= min(n, least)
    assert used.max() - used.min() <= 1


def test_the_partition_is_the_sites_key_and_patients_and_nothing_else():
    patients = np.array([f"p{k}" for k in range(60)])
    slots = partition(patients, "a key")
    assert np.array_equal(partition(patients, "a key"), slots)
    order = np.random.default_rng(0).permutation(60)
    assert np.array_equal(partition(patients[order], "a key"), slots[order])
    assert not np.array_equal(partition(patients, "another key"), slots)
    assert not np.array_equal(partition(patients, ""), slots)


@given(n=st.integers(30, 100), kept=st.floats(0.05, 1), seed=st.integers(0, 99))
def test_a_band_joins_groups_and_never_leaves_one_below_the_cohort(n, kept, seed):
    patients = np.arange(n)
    rows = np.flatnonzero(np.random.default_rng(seed).random(n) < kept)
    whole, slots = partition(patients, "key", 5), groups_within(patients, rows, "key", 5)
    behind = patients_behind(rows, slots) if len(rows) else np.zeros(SLOTS)
    assert len(rows) < 5 or behind[behind > 0].min() >= 5
    for slot in np.unique(whole[rows]):
        assert len(np.unique(slots[whole[rows] == slot])) == 1, "a group is never cut"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_joined_groups_have_the_minimum_of_every_kind_and_lose_nobody(counts):
    behind = np.array(counts)
    joined = pooled(behind, coarser(behind, 3))
    assert (joined.sum(0) == behind.sum(0)).all()
    if (behind.sum(0) >= 3).all():
        assert (joined[joined.sum(1) > 0] >= 3).all()
    else:
        assert not joined[1:].any()


def test_with_equal_groups_the_interval_is_students_of_the_groups_means():
    means = np.random.default_rng(0).normal(20, 1, 7)
    value = means.mean()
    found = estimate(value, (means.sum() - means) / 6, np.full(7, 12.0))
    reach = 2.4469 * means.std(ddof=1) / 7**0.5
    assert (found.low, found.high) == pytest.approx((value - reach, value + reach), rel=1e-4)
    assert found.n_groups == 7


@pytest.mark.parametrize("left_out", [[0.7], [0.8, 0.8, 0.8], [0.7, np.nan]])
def test_one_group_or_groups_that_say_nothing_give_no_interval(left_out):
    found = estimate(0.8, np.array(left_out), np.ones(len(left_out)), within=(0, 1))
    assert (found.value, found.low, found.high) == (0.8, None, None)
    assert found.n_groups == len(left_out)


def test_slots_without_patients_do_not_count_as_groups():
    left_out, weights = np.array([0.7, 0.8, 0.75, 0.0]), np.array([3.0, 4, 5, 0])
    full = estimate(0.75, left_out[:3], weights[:3])
    assert estimate(0.75, left_out, weights) == full
    assert full.n_groups == 3


def test_an_interval_within_bounds_stays_inside_them():
    found = estimate(0.98, np.array([0.9, 0.99, 0.999]), np.ones(3), within=(0, 1))
    assert 0 < found.low < 0.98 < found.high < 1


def _groups(sizes, draw):
    """The group of each slice, (n, 4), of ``sizes`` patients a group, and a patient's own part."""
    slots = np.repeat(np.arange(len(sizes)), sizes)[:, None].repeat(4, 1)
    return slots, draw.normal(size=(len(slots), 1)), draw.normal(size=slots.shape)


def _scores(sizes, draw):
    """Counts (G, 1, 2, 64) of scores: slices of a patient share a label and half the variance."""
    slots, own, noise = _groups(sizes, draw)
    truth = (draw.random((len(slots), 1)) < 0.4).repeat(4, 1)
    bins = ((own + noise + 2.0 * truth) * 4 + 32).clip(0, 63).astype(int)
    flat = (slots * 2 + truth) * 64 + bins
    return np.bincount(flat.ravel(), minlength=len(sizes) * 128).reshape(-1, 1, 2, 64)


@pytest.mark.parametrize("n_groups", [4, 10, 50])
@pytest.mark.parametrize("sizes", [(5,), (20,), (5, 20)])
def test_the_interval_of_an_auroc_covers_the_truth_in_95_of_100_studies(n_groups, sizes):
    draw = np.random.default_rng(1)
    truth = ScoreHistogram(_scores([200_000], draw), np.zeros(1), np.zeros(1)).auroc()[0]
    hits = 0
    for _ in range(STUDIES):
        counts = _scores([sizes[g % len(sizes)] for g in range(n_groups)], draw)
        found = ScoreHistogram(counts, np.zeros(1), np.zeros(1)).auroc_estimate()
        hits += found.low is not None and found.low <= truth <= found.high
    assert 0.92 * STUDIES <= hits <= 0.98 * STUDIES


@pytest.mark.parametrize("n_groups", [4, 10, 50])
@pytest.mark.parametrize("sizes", [(5,), (5, 20)])
def test_the_interval_of_a_mean_psnr_covers_the_truth_in_95_of_100_studies(n_groups, sizes):
    draw, hits = np.random.default_rng(2), 0
    for _ in range(STUDIES):
        patients = [sizes[g % len(sizes)] for g in range(n_groups)]
        slots, own, noise = _groups(patients, draw)
        psnr = np.bincount(slots.ravel(), (20 + 2 * own + noise).ravel())
        sums = np.zeros((n_groups, 4))
        sums[:, 0] = psnr
        found = ImageQuality(sums, np.bincount(slots.ravel())).estimate("psnr")
        hits += found.low <= 20 <= found.high
    assert 0.92 * STUDIES <= hits <= 0.98 * STUDIES
