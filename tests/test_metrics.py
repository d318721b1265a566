"""Summaries that merge: AUROC from histograms, image quality, and the bootstrap over patients."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from skimage.metrics import structural_similarity

from infomri_core import images
from infomri_core.metrics import METRICS, ImageQuality, ScoreHistogram, bootstrap_weights


def _histogram(logits, labels, n_replicates=0, patients=None, seed=0):
    generator = np.random.default_rng(seed)
    patients = np.arange(len(logits)) if patients is None else patients
    return ScoreHistogram.from_scores(
        logits, labels, bootstrap_weights(patients, n_replicates, generator)
    )


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
    histogram = _histogram(np.zeros((30, 1)), np.full((30, 1), value), n_replicates=50)
    assert np.isnan(histogram.auroc()).all()
    assert histogram.auroc_interval() == (None, None, None)


def test_a_label_without_positives_does_not_move_the_mean_of_the_others():
    logits, labels = _scores(np.random.default_rng(4), 200)
    labels[:, 1] = False
    histogram = _histogram(logits, labels, n_replicates=100)
    assert histogram.auroc_interval()[0] == pytest.approx(histogram.auroc()[0])


def test_too_few_replicates_with_both_classes_give_no_interval():
    labels = np.zeros((40, 1))
    labels[0] = 1
    logits = np.random.default_rng(5).normal(size=(40, 1))
    mean, low, high = _histogram(logits, labels, n_replicates=25).auroc_interval()
    assert mean is not None
    assert (low, high) == (None, None)


def test_interval_covers_the_true_auroc_about_as_often_as_it_says():
    generator, hits = np.random.default_rng(6), 0
    for seed in range(60):
        labels = generator.random((150, 1)) < 0.5
        logits = generator.normal(size=(150, 1)) + labels
        _, low, high = _histogram(logits, labels, 200, seed=seed).auroc_interval()
        hits += low <= 0.7602 <= high
    assert 49 <= hits <= 60


@pytest.mark.parametrize("exclusive", [False, True])
def test_merging_histograms_equals_computing_at_once_and_is_associative(exclusive):
    generator = np.random.default_rng(7)
    logits, labels = _scores(generator, 90)
    weights = bootstrap_weights(np.arange(90) // 3, 20, generator)
    parts = [
        ScoreHistogram.from_scores(logits[s], labels[s], weights[:, s], exclusive)
        for s in (slice(0, 20), slice(20, 21), slice(21, 90))
    ]
    whole = ScoreHistogram.from_scores(logits, labels, weights, exclusive).to_arrays()
    left = parts[0].merge(parts[1]).merge(parts[2]).to_arrays()
    right = parts[0].merge(parts[1].merge(parts[2])).to_arrays()
    for name, array in whole.items():
        assert np.array_equal(array, left[name])
        assert np.array_equal(array, right[name])


def test_accuracy_counts_decisions_per_label_or_the_largest_of_exclusive_ones():
    logits = np.array([[2.0, 1.0], [-1.0, 3.0], [0.5, -0.5], [2.0, 1.0]])
    labels = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    weights = np.ones((1, 4), dtype=int)
    assert ScoreHistogram.from_scores(logits, labels, weights).accuracy() == 6 / 8
    assert ScoreHistogram.from_scores(logits, labels, weights, True).accuracy() == 3 / 4


def test_exclusive_scores_do_not_depend_on_a_shift_of_all_logits():
    logits, _ = _scores(np.random.default_rng(8), 60)
    labels = np.eye(2)[np.random.default_rng(9).integers(0, 2, 60)]
    weights = np.ones((1, 60), dtype=int)
    one, other = (
        ScoreHistogram.from_scores(logits + shift, labels, weights, True) for shift in (0, 50)
    )
    assert np.array_equal(one.counts, other.counts)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        _histogram(np.array([[np.nan], [0.0]]), np.array([[0], [1]]))


def test_bootstrap_draws_whole_patients_and_as_many_as_there_are():
    patients = np.array(["a", "b", "b", "c", "c", "c"])
    weights = bootstrap_weights(patients, 400, np.random.default_rng(10))
    assert (weights[0] == 1).all()
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert weights[1:].mean(0) == pytest.approx(np.ones(6), abs=0.2)


def test_slices_of_one_patient_do_not_narrow_the_interval():
    generator = np.random.default_rng(11)
    logits, labels = _scores(generator, 60)
    copies = [np.repeat(a, 5, axis=0) for a in (logits, labels)]
    once = _histogram(logits, labels, 200).auroc_interval()
    again = _histogram(*copies, 200, np.repeat(np.arange(60), 5)).auroc_interval()
    assert once == pytest.approx(again)


def test_summaries_survive_the_wire():
    logits, labels = _scores(np.random.default_rng(12), 40)
    histogram = _histogram(logits, labels, 5)
    back = ScoreHistogram.from_arrays(histogram.to_arrays())
    assert np.array_equal(back.counts, histogram.counts)
    quality = ImageQuality(np.random.default_rng(13).random((6, 4)), 7.0)
    same = ImageQuality.from_arrays(quality.to_arrays())
    assert np.array_equal(same.means, quality.means)
    assert same.weight == 7.0


def _broken_histograms():
    good = _histogram(*_scores(np.random.default_rng(14), 20), 3).to_arrays()
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


@pytest.mark.parametrize("means", [np.zeros((3, 5)), np.full((3, 4), np.nan), np.zeros(4)])
def test_image_quality_of_another_form_is_refused(means):
    with pytest.raises(ValueError):
        ImageQuality.from_arrays({"means": means, "weight": np.array([1.0])})


def test_merged_image_quality_is_the_mean_over_all_images():
    generator = np.random.default_rng(15)
    values = generator.random((30, 4))
    ones = np.ones((1, 30), dtype=int)
    whole = ImageQuality.from_images(values, ones)
    a, b, c = (
        ImageQuality.from_images(values[s], ones[:, s])
        for s in (slice(0, 4), slice(4, 5), slice(5, 30))
    )
    assert whole.means == pytest.approx(a.merge(b).merge(c).means)
    assert whole.means == pytest.approx(a.merge(b.merge(c)).means)
    assert a.merge(b).merge(c).weight == 30


def test_interval_of_image_quality_contains_its_mean():
    generator = np.random.default_rng(16)
    weights = bootstrap_weights(np.arange(50) // 2, 200, generator)
    quality = ImageQuality.from_images(generator.normal(20, 2, (50, 4)), weights)
    mean, low, high = quality.interval("ssim")
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * 2 / 50**0.5, rel=0.3)


def test_rounding_keeps_a_tenth_of_a_decibel_and_three_digits():
    quality = ImageQuality(np.array([[21.249, 0.0123456, 0.98765, 0.12345]]), 5.0).rounded()
    assert quality.means[0] == pytest.approx([21.2, 0.0123, 0.988, 0.123], abs=1e-12)


def test_decibel_of_the_mean_error_never_exceeds_the_mean_decibel():
    mse = np.array([1e-4, 1e-1])
    values = np.stack([-10 * np.log10(mse), mse, mse, mse], axis=1)
    quality = ImageQuality.from_images(values, np.ones((1, 2), dtype=int))
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
    code = "import infomri_core.metrics, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
