"""Laws of the audit's reference: the closed-form linear estimator."""

import numpy as np
import pytest
import torch

from infomri_core.attacks import registry as attacks
from infomri_core.attacks.audit_set import AuditSet
from infomri_core.attacks.linear.conjugate import symmetrise, wiener
from infomri_core.physics import covariance
from infomri_core.physics.covariance import spread
from infomri_core.physics.images import psnr
from infomri_core.physics.kspace import fft2c, measure, reflect
from infomri_core.sampling import UniformPolicy, VariableDensityPolicy, draw_masks
from infomri_core.system.errors import InputError

SIGMA = 0.05


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _images(n, shape, seed=0):
    """Smooth random images around one half, correlated across pixels."""
    generator = _generator(seed)
    basis = torch.randn(4, *shape, generator=_generator(99))
    basis = torch.real(torch.fft.ifft2(torch.fft.fft2(basis) * _low_pass(shape)))
    weights = torch.randn(n, 4, generator=generator)
    noise = 0.02 * torch.randn(n, *shape, generator=generator)
    images = 0.5 + torch.einsum("nk,khw->nhw", weights, basis) + noise
    return images.clamp(0, 1)


def _low_pass(shape):
    rows, columns = (torch.fft.fftfreq(n).abs() for n in shape)
    return torch.exp(-8 * (rows[:, None] + columns[None, :]))


def _prepared(shape, share, n=9):
    images = torch.rand(n, *shape, generator=_generator(1))
    attack = attacks.build("lmmse", shape)
    attack.noise_std = torch.full((1,), SIGMA)
    attack.refit(images, _generator())
    attack.shares = torch.full_like(attack.shares, share)
    return attack


def _dense_covariance(attack, share):
    """The covariance the attack claims, as a matrix over pixels (float64)."""
    n = attack.mean.numel()
    fourier = fft2c(torch.eye(n, dtype=torch.float64).view(n, *attack.shape)).view(n, n).T
    factors = attack.factors.flatten(1).double()
    diagonal = share * attack.prior + (1 - share) * attack.lost
    stationary = fourier.conj().T @ (diagonal.double().flatten()[:, None] * fourier)
    assert stationary.imag.abs().max() < 1e-6
    return (1 - share) * factors.T @ factors + stationary.real, fourier


def _dense_posterior(attack, share, y, mask):
    """Mean of x given Re y and Im y at sampled points, by the textbook formula."""
    covariance_matrix, fourier = _dense_covariance(attack, share)
    sampled = mask.flatten() > 0
    operator = torch.cat([fourier[sampled].real, fourier[sampled].imag])
    data = torch.cat([y.flatten()[sampled].real, y.flatten()[sampled].imag]).double()
    mean = attack.mean.flatten().double()
    gram = operator @ covariance_matrix @ operator.T + SIGMA**2 * torch.eye(len(data))
    # At a self-conjugate point the imaginary part is noise alone: its row of the operator is 0.
    gain = covariance_matrix @ operator.T @ torch.linalg.inv(gram)
    return (mean + gain @ (data - operator @ mean)).view(attack.shape)


@pytest.mark.parametrize("shape", [(8, 8), (7, 6), (5, 7)])
@pytest.mark.parametrize("share", [0.05, 0.6, 1.0])
@pytest.mark.parametrize("ratio", [0.08, 0.5, 1.0])
def test_estimate_equals_the_dense_posterior_mean(shape, share, ratio):
    attack, generator = _prepared(shape, share), _generator(2)
    masks = (torch.rand(4, *shape, generator=generator) <= ratio).float()
    images = torch.rand(4, *shape, generator=generator)
    y = measure(fft2c(images), masks, SIGMA, generator)
    expected = [_dense_posterior(attack, share, y[i], masks[i]) for i in range(4)]
    expected = torch.stack(expected).clamp(0, 1).float()
    assert (attack.reconstruct(y, masks) - expected).abs().max() < 1e-5


def test_estimate_does_not_depend_on_the_other_images_of_a_batch():
    attack, generator = _prepared((8, 6), 0.3), _generator(3)
    masks = (
        torch.rand(5, 8, 6, generator=generator) < torch.linspace(0.1, 1, 5)[:, None, None]
    ) * 1.0
    y = measure(fft2c(torch.rand(5, 8, 6, generator=generator)), masks, SIGMA, generator)
    alone = torch.cat([attack.reconstruct(y[i : i + 1], masks[i : i + 1]) for i in range(5)])
    assert (attack.reconstruct(y, masks) - alone).abs().max() < 1e-5


def test_an_empty_mask_is_answered_with_the_mean_image():
    attack = _prepared((8, 8), 0.3)
    empty = torch.zeros(2, 8, 8)
    assert torch.allclose(attack.reconstruct(empty.to(torch.complex64), empty), attack.mean)


@pytest.mark.parametrize("shape", [(8, 8), (7, 6)])
def test_symmetrised_data_keep_the_likelihood_of_every_real_image(shape):
    generator = _generator(4)
    mask = (torch.rand(shape, generator=generator) < 0.5).double()
    y = measure(fft2c(torch.rand(shape, generator=generator).double()), mask, 0.3, generator)
    y_sym, count = symmetrise(y, mask)
    images = torch.rand(6, *shape, generator=generator).double()
    k = fft2c(images)
    direct = (mask * (y - k).abs().square()).sum((-2, -1))
    folded = (count * (y_sym - k).abs().square()).sum((-2, -1)) / 2
    assert (direct - folded).diff().abs().max() < 1e-10


@pytest.mark.parametrize("shape", [(8, 8), (7, 6)])
def test_wiener_is_the_posterior_mean_of_the_stationary_prior_alone(shape):
    attack, generator = _prepared(shape, 1.0), _generator(5)
    masks = (torch.rand(3, *shape, generator=generator) < 0.4).float()
    y = measure(fft2c(torch.rand(3, *shape, generator=generator)), masks, SIGMA, generator)
    direct = wiener(y, masks, fft2c(attack.mean), attack.prior, attack.noise_std)
    assert (attack.reconstruct(y, masks) - direct.clamp(0, 1)).abs().max() < 1e-5


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_prior_is_positive_and_symmetric_for_any_number_of_images(n):
    known = spread(_images(n, (9, 8)), _generator())
    assert (known.prior > 0).all()
    assert torch.allclose(known.prior, reflect(known.prior))


@pytest.mark.parametrize("n", [4, 100])
def test_factors_are_the_sample_covariance(n):
    images = _images(n, (6, 5))
    factors = spread(images, _generator()).factors.flatten(1)
    sample = np.cov(images.flatten(1).double().numpy().T)
    assert np.abs((factors.T @ factors).numpy() - sample).max() < 1e-5
    assert len(factors) == min(n - 1, 30)


def test_beyond_the_rank_cap_no_variance_of_k_space_is_lost(monkeypatch):
    monkeypatch.setattr(covariance, "MAX_RANK", 6)
    monkeypatch.setattr(covariance, "_OVERSAMPLE", 3)
    images = _images(40, (12, 10))
    known = spread(images, _generator())
    assert len(known.factors) == 6
    kept = fft2c(known.factors).abs().square().sum(0) + known.lost
    centred = fft2c(images - images.mean(0)).abs().square().sum(0) / 39
    assert torch.allclose(kept, (centred + reflect(centred)) / 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_audit_images_is_enough_to_answer(n):
    policy = UniformPolicy((8, 8))
    attack = attacks.build("lmmse", (8, 8))
    attack.fit(AuditSet.of(_images(n, (8, 8)), policy, [0.25], SIGMA, _generator()))
    masks = draw_masks(policy(0.25), 3, generator=_generator())
    y = measure(fft2c(_images(3, (8, 8), 5)), masks, SIGMA, _generator())
    assert torch.isfinite(attack.reconstruct(y, masks)).all()


def test_held_out_choice_is_near_the_best_share_and_beats_the_mean_image():
    shape, ratio = (16, 16), 0.1
    policy = VariableDensityPolicy(shape)
    fitted = attacks.build("lmmse", shape)
    fitted.fit(AuditSet.of(_images(60, shape), policy, [ratio], SIGMA, _generator()))
    truth = _images(100, shape, seed=7)
    masks = draw_masks(policy(ratio), 100, generator=_generator(8))
    y = measure(fft2c(truth), masks, SIGMA, _generator(9))
    ours = psnr(fitted.reconstruct(y, masks), truth).mean()
    floor = psnr(fitted.mean.expand_as(truth), truth).mean()
    quality = []
    for share in (0.03, 0.25, 0.75, 1.0):
        fitted.shares = torch.full_like(fitted.shares, share)
        quality.append(psnr(fitted.reconstruct(y, masks), truth).mean())
    assert ours > floor + 3
    assert ours > max(quality) - 0.3


def test_more_samples_give_a_better_estimate():
    shape = (16, 16)
    policy = VariableDensityPolicy(shape)
    attack = attacks.build("lmmse", shape)
    attack.fit(AuditSet.of(_images(40, shape), policy, [0.05, 0.2], SIGMA, _generator()))
    truth, quality = _images(60, shape, seed=7), []
    for ratio in (0.02, 0.08, 0.3, 1.0):
        masks = draw_masks(policy(ratio), 60, generator=_generator(8))
        y = measure(fft2c(truth), masks, SIGMA, _generator(9))
        quality.append(float(psnr(attack.reconstruct(y, masks), truth).mean()))
    assert quality == sorted(quality)


@pytest.mark.parametrize(
    "change",
    [
        {"factors": np.zeros((2, 8, 9), np.float32)},
        {"factors": np.zeros((2, 64), np.float32)},
        {"prior": np.zeros((8, 8), np.float32)},
        {"prior": np.full((8, 8), np.nan, np.float32)},
        {"noise_std": np.zeros(1, np.float32)},
        {"mean": np.zeros((8, 8), np.float64)},
        {"mean": None},
    ],
)
def test_arrays_of_another_form_are_refused(change):
    arrays = _prepared((8, 8), 0.3).to_arrays() | change
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(InputError):
        attacks.build("lmmse", (8, 8)).load(arrays)
