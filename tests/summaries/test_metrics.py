"""Summaries that merge: AUROC from histograms and image quality, as sums over groups."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from skimage.metrics import structural_similarity

from infomri_core.physics import images
from infomri_core.summaries.groups import SLOTS, partition
from infomri_core.summaries.metrics import METRICS, ImageQuality, ScoreHistogram


def _histogram(logits, labels, patients=None, exclusive=False):
    patients = np.arange(len(logits)) if patients is None else patients
    return ScoreHistogram.from_scores(logits, labels, partition(patients, "key"), exclusive)


def _exact_auroc(logits, labels):
    """The rank statistic itself, for scores (n,) and labels (n,)."""
    statistic = mannwhitneyu(logits[labels], logits[~labels]).statistic
    return statistic / (labels.sum() * (~labels).sum())


def _scores(generator, n, shift=1.0):
    labels = generator.random((n, 2)) < 0.4
    labels[:2] = [[True, True], [False, False]]
    return generator.normal(size=(n, 2)) + shift * labels, labels


@given(seed=st.integers(0, 10**6), n=st.integers(20, 300), shift=st.floats(0, 3))
@settings(max_examples=30, deadline=None)
def test_auroc_from_bins_is_near_the_exact_rank_statistic(seed, n, shift):
    logits, labels = _scores(np.random.default_rng(seed), n, shift)
    exact = [_exact_auroc(logits[:, k], labels[:, k]) for k in range(2)]
    assert np.abs(_histogram(logits, labels).auroc() - exact).max() < 0.06


def test_auroc_from_bins_is_exact_where_scores_lie_on_distinct_bins():
    generator = np.random.default_rng(1)
    logits = generator.choice(np.arange(-7.875, 8, 0.25), size=(200, 1))
    labels = generator.random((200, 1)) < 0.3 + 0.05 * logits
    exact = _exact_auroc(logits[:, 0], labels[:, 0])
    assert _histogram(logits, labels).auroc()[0] == pytest.approx(exact, abs=1e-12)


@given(steps=st.integers(-8, 8))
def test_auroc_does_not_change_when_all_scores_shift_by_whole_bins(steps):
    logits, labels = _scores(np.random.default_rng(2), 200)
    moved = _histogram(logits + 0.25 * steps, labels).auroc()
    assert np.array_equal(moved, _histogram(logits, labels).auroc())


def test_auroc_of_reversed_scores_is_one_minus_auroc():
    logits, labels = _scores(np.random.default_rng(3), 300)
    both = _histogram(logits, labels).auroc() + _histogram(-logits, labels).auroc()
    assert both == pytest.approx(np.ones(2), abs=1e-12)


@pytest.mark.parametrize("value", [0, 1])
def test_auroc_without_both_classes_is_undefined(value):
    histogram = _histogram(np.zeros((30, 1)), np.full((30, 1), value))
    assert np.isnan(histogram.auroc()).all()
    assert histogram.auroc_estimate().value is None


def test_a_label_without_positives_does_not_move_the_mean_of_the_others():
    logits, labels = _scores(np.random.default_rng(4), 200)
    labels[:, 1] = False
    histogram = _histogram(logits, labels)
    assert histogram.auroc_estimate().value == pytest.approx(histogram.auroc()[0])


def test_a_finding_in_one_group_only_gives_no_interval():
    labels = np.zeros((40, 1))
    labels[0] = 1
    logits = np.random.default_rng(5).normal(size=(40, 1))
    found = _histogram(logits, labels).auroc_estimate()
    assert found.value is not None
    assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize("exclusive", [False, True])
def test_merging_histograms_equals_computing_at_once_and_is_associative(exclusive):
    generator = np.random.default_rng(7)
    logits, labels = _scores(generator, 90)
    slots = partition(np.arange(90) // 3, "key")
    parts = [
        ScoreHistogram.from_scores(logits[s], labels[s], slots[s], exclusive)
        for s in (slice(0, 20), slice(20, 21), slice(21, 90))
    ]
    whole = ScoreHistogram.from_scores(logits, labels, slots, exclusive).to_arrays()
    left = parts[0].merge(parts[1]).merge(parts[2]).to_arrays()
    right = parts[0].merge(parts[1].merge(parts[2])).to_arrays()
    for name, array in whole.items():
        assert np.array_equal(left[name], right[name])
        assert len(left[name]) == 3 * SLOTS
        assert np.array_equal(array, sum(np.split(left[name], 3)))


def test_accuracy_counts_decisions_per_label_or_the_largest_of_exclusive_ones():
    logits = np.array([[2.0, 1.0], [-1.0, 3.0], [0.5, -0.5], [2.0, 1.0]])
    labels = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    assert _histogram(logits, labels).accuracy() == 6 / 8
    assert _histogram(logits, labels, exclusive=True).accuracy() == 3 / 4


def test_exclusive_scores_do_not_depend_on_a_shift_of_all_logits():
    logits, _ = _scores(np.random.default_rng(8), 60)
    labels = np.eye(2)[np.random.default_rng(9).integers(0, 2, 60)]
    one, other = (_histogram(logits + shift, labels, exclusive=True) for shift in (0, 50))
    assert np.array_equal(one.counts, other.counts)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        _histogram(np.array([[np.nan], [0.0]]), np.array([[0], [1]]))


def test_slices_of_one_patient_do_not_narrow_the_interval():
    generator = np.random.default_rng(11)
    logits, labels = _scores(generator, 60)
    copies = [np.repeat(a, 5, axis=0) for a in (logits, labels)]
    once = _histogram(logits, labels).auroc_estimate()
    again = _histogram(*copies, np.repeat(np.arange(60), 5)).auroc_estimate()
    assert (once.low, once.high) == pytest.approx((again.low, again.high))


def test_summaries_survive_the_wire():
    logits, labels = _scores(np.random.default_rng(12), 40)
    histogram = _histogram(logits, labels)
    back = ScoreHistogram.from_arrays(histogram.to_arrays())
    assert np.array_equal(back.counts, histogram.counts)
    quality = ImageQuality(np.random.default_rng(13).random((6, 4)), np.full(6, 7))
    same = ImageQuality.from_arrays(quality.to_arrays())
    assert np.array_equal(same.sums, quality.sums)
    assert np.array_equal(same.weight, quality.weight)


def _broken_histograms():
    good = _histogram(*_scores(np.random.default_rng(14), 20)).to_arrays()
    yield {k: v for k, v in good.items() if k != "total"}
    yield good | {"counts": good["counts"][..., :63]}
    yield good | {"counts": -good["counts"]}
    yield good | {"counts": good["counts"].astype(np.float64)}
    yield good | {"correct": good["total"] + 1}
    yield good | {"total": good["total"][:2]}
    yield good | {"counts": np.array(3)}


@pytest.mark.parametrize("arrays", list(_broken_histograms()))
def test_a_histogram_of_another_form_is_refused(arrays):
    with pytest.raises(ValueError):
        ScoreHistogram.from_arrays(arrays)


@pytest.mark.parametrize("sums", [np.zeros((3, 5)), np.full((3, 4), np.nan), np.zeros(4)])
def test_image_quality_of_another_form_is_refused(sums):
    with pytest.raises(ValueError):
        ImageQuality.from_arrays({"sums": sums, "weight": np.ones(len(sums), np.int64)})


def test_merged_image_quality_is_the_mean_over_all_images():
    values = np.random.default_rng(15).random((30, 4))
    slots = partition(np.arange(30), "key")
    parts = [
        ImageQuality.from_images(values[s], slots[s])
        for s in (slice(0, 4), slice(4, 5), slice(5, 30))
    ]
    a, b, c = parts
    for merged in (a.merge(b).merge(c), a.merge(b.merge(c))):
        assert merged.weight.sum() == 30
        for k, metric in enumerate(METRICS):
            assert merged.mean(metric) == pytest.approx(values[:, k].mean())


def test_interval_of_image_quality_contains_its_mean():
    generator = np.random.default_rng(16)
    slots = partition(np.arange(500) // 2, "key")
    found = ImageQuality.from_images(generator.normal(20, 2, (500, 4)), slots).estimate("ssim")
    assert found.n_groups == SLOTS
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 2.26 * 2 / 500**0.5, rel=0.5)


def test_rounding_keeps_a_tenth_of_a_decibel_and_three_digits_of_a_groups_mean():
    means = np.array([[21.249, 0.0123456, 0.98765, 0.12345], [0, 0, 0, 0]])
    quality = ImageQuality(means * 5, np.array([5, 0])).rounded()
    assert quality.sums[0] / 5 == pytest.approx([21.2, 0.0123, 0.988, 0.123], abs=1e-12)
    assert not quality.sums[1].any()


def test_decibel_of_the_mean_error_never_exceeds_the_mean_decibel():
    mse = np.array([1e-4, 1e-1])
    values = np.stack([-10 * np.log10(mse), mse, mse, mse], axis=1)
    quality = ImageQuality.from_images(values, np.zeros(2, np.int64))
    assert quality.psnr_of_mean_mse < quality.mean("psnr")


@pytest.mark.parametrize("shape", [(32, 32), (17, 24), (7, 7)])
def test_ssim_equals_that_of_scikit_image(shape):
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, *shape, generator=generator)
    output = (target + 0.2 * torch.randn(3, *shape, generator=generator)).clamp(0, 1)
    expected = [
        structural_similarity(t.numpy(), o.numpy(), data_range=1.0) for t, o in zip(target, output)
    ]
    assert images.ssim(output, target).numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_image_metrics_follow_their_definitions():
    target = torch.full((1, 8, 8), 0.5)
    values = dict(zip(METRICS, images.image_metrics(target + 0.1, target)[0].tolist()))
    assert values["psnr"] == pytest.approx(20, abs=1e-4)
    assert values["mse"] == pytest.approx(0.01, rel=1e-4)
    assert values["nmse"] == pytest.approx(0.04, rel=1e-4)


def test_outputs_are_clipped_before_they_are_compared():
    target = torch.ones(1, 8, 8)
    assert torch.equal(images.psnr(target * 5, target), images.psnr(target, target))


def test_a_perfect_or_an_empty_image_has_finite_metrics():
    for target in (torch.zeros(1, 8, 8), torch.rand(1, 8, 8)):
        assert torch.isfinite(images.image_metrics(target, target)).all()


def test_reading_summaries_needs_no_torch():
    code = "import infomri_core.summaries.metrics, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
