"""Calibration of a predicted variance, against the definitions written out and known cases."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from infomri_core.physics import calibration
from infomri_core.physics.calibration import N_BINS, ause, binned, coverage, spearman
from infomri_core.summaries import posterior_summary
from infomri_core.summaries.posterior_summary import ence

SHAPE = (3, 70, 61)


def drawn(factor: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Means, log variances and images whose errors have ``factor`` times the standard deviation
    that is predicted."""
    generator = torch.Generator().manual_seed(3)
    mean = torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    log_variance = -4 + 2 * torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    noise = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    return mean, log_variance, mean + factor * noise * (log_variance / 2).exp()


def test_the_likelihood_is_that_of_a_normal_distribution() -> None:
    mean, log_variance, target = drawn()
    exact = -torch.distributions.Normal(mean, (log_variance / 2).exp()).log_prob(target)
    found = calibration.negative_log_likelihood(mean, log_variance, target)
    assert torch.allclose(found, exact.mean((-2, -1)))


@pytest.mark.parametrize(("n_std", "share"), [(1.0, 0.6827), (2.0, 0.9545)])
def test_coverage_of_true_deviations_is_the_normal_distributions(
    n_std: float, share: float
) -> None:
    assert float(coverage(*drawn(), n_std).mean()) == pytest.approx(share, abs=0.03)
    assert float(coverage(*drawn(3.0), n_std).mean()) < share - 0.2


def test_ranks_correlate_as_scipy_says_with_ties_too() -> None:
    mean, log_variance, target = drawn()
    log_variance = log_variance.round(decimals=1)
    expected = [
        spearmanr((t - m).abs().flatten().numpy(), v.flatten().numpy()).statistic
        for m, v, t in zip(mean, log_variance, target)
    ]
    assert spearman(mean, log_variance, target).tolist() == pytest.approx(expected)
    assert spearman(mean, torch.full(SHAPE, -3.0), target).tolist() == [0.0] * 3


def test_a_variance_in_the_order_of_the_errors_has_no_sparsification_error() -> None:
    mean, _, target = drawn()
    exact = (target - mean).square().log()
    assert torch.allclose(ause(mean, exact, target), torch.zeros(3).double(), atol=1e-9)
    assert torch.allclose(spearman(mean, exact, target), torch.ones(3).double())
    assert (ause(mean, -exact, target) > ause(mean, torch.zeros(SHAPE), target)).all()


def test_pixels_of_one_variance_count_alike_in_any_order() -> None:
    mean, _, target = drawn()
    flat = torch.zeros(SHAPE).double()
    turned = (x.flip(-1) for x in (mean, flat, target))
    assert torch.allclose(ause(mean, flat, target), ause(*turned))


def test_bins_hold_every_pixel_once_and_its_error_and_variance() -> None:
    mean, log_variance, target = drawn()
    found = binned(mean, log_variance, target)
    assert found.shape == (3, N_BINS, 3)
    totals = found.sum(1)
    assert torch.allclose(totals[:, 0], torch.ones(3).double())
    assert torch.allclose(totals[:, 1], (target - mean).square().mean((-2, -1)))
    assert torch.allclose(totals[:, 2], log_variance.exp().mean((-2, -1)))
    assert tuple(found.shape[1:]) == (posterior_summary.N_BINS, posterior_summary.PARTS)


@pytest.mark.parametrize("log_variance", [-12.0, 2.0])
def test_the_outer_bins_are_open(log_variance: float) -> None:
    flat = torch.full((1, 4, 4), log_variance)
    place = 0 if log_variance < 0 else N_BINS - 1
    assert binned(flat, flat, flat)[0, place, 0] == 1


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0])
def test_ence_is_how_far_deviations_are_from_the_errors(factor: float) -> None:
    bins = binned(*drawn(factor)).sum(0).numpy()
    assert ence(bins) == pytest.approx(abs(1 - factor), abs=0.06)
    assert ence(np.zeros((N_BINS, 3))) is None and math.isfinite(ence(bins) or math.nan)
