"""Laws of what is read from noised sums: exact without noise, honest with it."""

import numpy as np
import pytest

from benchmarks.evaluation_noise import TRUE_AUROC, measured, study
from infomri_core.score_noise.bounded_scores import BoundedScores
from infomri_core.score_noise.mechanism import Form, noise_multiplier
from infomri_core.score_noise.noised_scores import NoisedScores, noised_from
from infomri_core.summaries.jackknife import Estimate
from infomri_core.tasks.classification import Classification

CELL = ("arm 0", 8.0)
TASK = Classification((4, 4), ("ill",))
FORM = Form((CELL, ("arm 0", 16.0)), TASK, ("unet",), ("mean",))
REFERENCE = np.broadcast_to(TASK.reference(None), FORM.reference_shape)


def exact(logits: np.ndarray, ill: np.ndarray, psnr: np.ndarray) -> NoisedScores:
    """Sums without noise of single slices, the same in both cells."""
    names = np.arange(len(ill))
    bounded = BoundedScores(FORM, names, REFERENCE, np.full(3, 20.0), 6.0)
    for cell in FORM.cells:
        quality = {name: np.tile(psnr[:, None], (1, 4)) for name in ("unet", "mean")}
        bounded.add(cell, np.stack((logits, ill), axis=1), names, quality)
    return NoisedScores.of(FORM, bounded.sums(), 0.0)


def test_without_noise_the_figures_are_those_of_the_patients() -> None:
    draw = np.random.default_rng(3)
    ill = draw.integers(0, 2, 200)
    grid = np.array([-7.0, -2, -0.3, 0.3, 2, 7])
    logits = grid[draw.integers(0, 5, 200) + ill]
    psnr = draw.normal(22, 1.0, 200)
    scores = exact(logits, ill, psnr)
    a, b = logits[ill == 1][:, None], logits[ill == 0][None]
    figures = scores.figures(CELL, REFERENCE)
    assert figures["auroc"].value == pytest.approx(((a > b) + (a == b) / 2).mean(), abs=1e-9)
    assert figures["accuracy"].value == pytest.approx(((logits > 0) == ill).mean(), abs=1e-6)
    found = scores.psnr(CELL, np.full(3, 20.0), 6.0)["unet"]
    assert found.value is not None and found.low is not None and found.high is not None
    value, low, high = found.value, found.low, found.high
    assert value == pytest.approx(psnr.mean(), abs=1e-4)
    assert (high - low) / 2 == pytest.approx(1.96 * psnr.std() / np.sqrt(200), rel=1e-3)
    assert scores.n_patients()[0] == pytest.approx(200, abs=1e-3) and scores.clipped() == 0


def test_merging_adds_sums_and_noises_in_any_order() -> None:
    draw = np.random.default_rng(1)
    a, b, c = (study(7, 1, 2, 8.0, draw, i) for i in range(3))
    left, right = a.merge(b).merge(c), a.merge(c.merge(b))
    assert all((left.sums[f] == right.sums[f]).all() for f in left.sums)
    assert left.variance == pytest.approx(right.variance)
    assert left.variance["counts"] == pytest.approx(3 * a.variance["counts"])


def test_at_the_default_the_auroc_is_nearly_unbiased_and_its_interval_covers() -> None:
    found = measured(100, 1, 1, 8.0, 300, 0)
    # Six bins lose up to .014 of .921 to ties.
    assert -0.02 < found.error < 0.01
    assert 0.92 <= found.covered <= 0.98 and found.undefined == 0


def test_several_findings_are_covered_at_least_as_well() -> None:
    found = measured(100, 1, 3, 8.0, 100, 0)
    assert found.covered >= 0.92 and abs(found.error) < 0.02


def test_where_the_noise_hides_who_is_ill_there_is_no_auroc() -> None:
    scores = study(5, 5, 3, 0.5, np.random.default_rng(0), 0)
    reference = np.broadcast_to(scores.form.task.reference(None), scores.form.reference_shape)
    assert scores.figures(scores.form.cells[0], reference)["auroc"] == Estimate(None)
    assert 0.9 < TRUE_AUROC < 0.93


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop("spread"),
        lambda a: a.update(more=a["counts"]),
        lambda a: a.update(counts=a["counts"].astype(np.int32)),
        lambda a: a.update(decided=a["decided"][:1]),
        lambda a: a.update(scores=a["scores"] + 2**60),
    ],
)
def test_other_arrays_than_the_forms_are_refused(change) -> None:
    arrays = exact(np.zeros(4), np.array([0, 1, 0, 1]), np.full(4, 20.0)).to_arrays()
    noised_from(FORM, arrays, noise_multiplier(8.0, 1e-5))
    change(arrays)
    with pytest.raises(ValueError):
        noised_from(FORM, arrays, 1.0)
