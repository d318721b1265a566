"""The entropy is the log-determinant it claims to be, and its slope is the right one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.physics.entropy import entropy_map, marginal_entropy, redundancy, self_conjugate
from infomri_core.physics.kspace import fft2c, ifft2c, reflect
from infomri_core.system.errors import InputError

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
seeds = st.integers(0, 2**31)
noises = st.sampled_from([1e-3, 0.02, 1.0, 3.0])
laws = settings(deadline=None, max_examples=60)


def _variance(shape: tuple[int, int], seed: int) -> torch.Tensor:
    """Symmetric random variances over six decades, V^c = 0 where i = i*."""
    generator = torch.Generator().manual_seed(seed)
    V = 10 ** (6 * torch.rand(2, *shape, dtype=torch.float64, generator=generator) - 4)
    V = (V + reflect(V)) / 2
    V[1][self_conjugate(shape)] = 0
    return V


def _joint_covariance(variance: torch.Tensor) -> np.ndarray:
    """Covariance (2N, 2N) of the real and imaginary parts of the k-space of real images.

    Real images are spanned by the inverse transforms of conjugate symmetric patterns, one per
    independent real number; each is transformed back, and its variance is laid on it.
    """
    _, H, W = variance.shape
    partner = reflect(torch.arange(H * W).view(H, W)).flatten().tolist()
    covariance = np.zeros((2 * H * W, 2 * H * W))
    for part, unit in enumerate((1.0 + 0j, 1j)):
        for i in range(H * W):
            if partner[i] < i or (part == 1 and partner[i] == i):
                continue
            pattern = torch.zeros(H * W, dtype=torch.complex128)
            pattern[partner[i]], pattern[i] = np.conj(unit), unit
            k = fft2c(ifft2c(pattern.view(H, W)).real).flatten()
            column = torch.cat([k.real, k.imag]).numpy()
            covariance += variance[part].flatten()[i].item() * np.outer(column, column)
    return covariance


def _brute_force(mask: torch.Tensor, covariance: np.ndarray, noise_std: float) -> float:
    chosen = np.flatnonzero(np.tile(mask.flatten().numpy() > 0, 2))
    noisy = covariance[np.ix_(chosen, chosen)] + noise_std**2 * np.eye(len(chosen))
    _, logdet = np.linalg.slogdet(noisy)
    return 0.5 * (len(chosen) * (1 + math.log(2 * math.pi)) + logdet)


@laws
@given(shapes, seeds, noises, st.floats(0, 1))
def test_entropy_equals_the_log_determinant_of_the_joint_gaussian(shape, seed, noise, density):
    V = _variance(shape, seed)
    generator = torch.Generator().manual_seed(seed)
    masks = (torch.rand(4, *shape, generator=generator) < density).double()
    covariance = _joint_covariance(V)
    expected = [_brute_force(mask, covariance, noise) for mask in masks]
    got = marginal_entropy(masks, V, noise)
    assert got.shape == (4,)
    # The dense determinant itself loses digits once 2V / s^2 exceeds 1e7.
    tolerance = 1e-9 if noise >= 0.02 else 1e-6
    np.testing.assert_allclose(got.numpy(), expected, rtol=tolerance, atol=tolerance)


def _every_mask(shape: tuple[int, int]) -> torch.Tensor:
    n = math.prod(shape)
    codes = torch.arange(2**n)[:, None]
    return ((codes >> torch.arange(n)) & 1).double().view(-1, *shape)


def _exact_expectation(
    mu: torch.Tensor, masks: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    weights = torch.where(masks > 0, mu, 1 - mu).flatten(1).prod(1)
    return (weights.view(-1, *[1] * (values.ndim - 1)) * values).sum(0)


@pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2, 5), (3, 4), (1, 7)])
def test_slope_is_that_of_the_expectation_under_independent_draws(shape):
    V, s, step = _variance(shape, 3), 0.1, 1e-4
    mu = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    masks = _every_mask(shape).requires_grad_()
    entropies = marginal_entropy(masks, V, s)
    (slopes,) = torch.autograd.grad(entropies.sum(), masks)
    masks, entropies = masks.detach(), entropies.detach()
    expected = torch.zeros(shape, dtype=torch.float64)
    for i in range(mu.numel()):
        shift = torch.zeros(mu.numel(), dtype=torch.float64)
        shift[i] = step
        above = _exact_expectation(mu + shift.view(shape), masks, entropies)
        below = _exact_expectation(mu - shift.view(shape), masks, entropies)
        expected.view(-1)[i] = (above - below) / (2 * step)
    torch.testing.assert_close(
        _exact_expectation(mu, masks, slopes), expected, rtol=1e-7, atol=1e-7
    )
    mu.requires_grad_()
    marginal_entropy(mu[None], V, s).sum().backward()
    torch.testing.assert_close(mu.grad, expected, rtol=1e-7, atol=1e-7)


@laws
@given(shapes, seeds)
def test_sampling_a_point_whose_partner_is_sampled_adds_less(shape, seed):
    V = _variance(shape, seed)
    mask = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    half = torch.zeros(1, *shape, dtype=torch.float64, requires_grad=True)
    for m in (mask, half):
        marginal_entropy(m, V, 0.05).sum().backward()
    own = self_conjugate(shape)
    assert (mask.grad[0] < half.grad[0])[~own].all()
    torch.testing.assert_close(mask.grad[0][own], half.grad[0][own])


def test_the_map_of_probabilities_is_the_mean_over_independent_masks():
    generator = torch.Generator().manual_seed(3)
    mu, variance = torch.rand(4, 3, dtype=torch.float64, generator=generator), _variance((4, 3), 5)
    draws = (torch.rand(20_000, 4, 3, dtype=torch.float64, generator=generator) < mu).double()
    assert torch.allclose(
        entropy_map(mu, variance, 0.1), entropy_map(draws, variance, 0.1).mean(0), atol=0.1
    )


def test_signal_in_the_imaginary_part_of_self_conjugate_points_is_ignored():
    V = _variance((4, 5), 0)
    wrong = V.clone()
    wrong[1][self_conjugate((4, 5))] = 9.0
    masks = torch.ones(1, 4, 5)
    assert torch.equal(marginal_entropy(masks, V, 0.1), marginal_entropy(masks, wrong, 0.1))


def test_a_mask_may_be_boolean_and_carry_any_leading_dimensions():
    V = _variance((4, 4), 1)
    masks = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    got = marginal_entropy(masks, V, 0.1)
    torch.testing.assert_close(
        got.flatten(), marginal_entropy(masks.flatten(0, 1).double(), V, 0.1)
    )


@laws
@given(shapes)
def test_self_conjugate_points_are_zero_frequency_and_nyquist(shape):
    H, W = shape
    expected = torch.zeros(shape, dtype=torch.bool)
    for i in {H // 2} | ({0} if H % 2 == 0 else set()):
        for j in {W // 2} | ({0} if W % 2 == 0 else set()):
            expected[i, j] = True
    assert torch.equal(self_conjugate(shape), expected)


@laws
@given(shapes, seeds)
def test_redundancy_counts_points_with_a_sampled_partner(shape, seed):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    partner, own = reflect(mask), self_conjugate(shape)
    n = sum(
        bool(m and p and not o) for m, p, o in zip(mask.view(-1), partner.view(-1), own.view(-1))
    )
    assert redundancy(mask) == pytest.approx(n / max(int(mask.sum()), 1))


def test_redundancy_spans_none_to_nearly_all():
    full = torch.ones(5, 5)
    half = (torch.arange(25).view(5, 5) > 12).float()
    torch.testing.assert_close(
        redundancy(torch.stack([full, half, 0 * full])), torch.tensor([24 / 25, 0.0, 0.0])
    )


@pytest.mark.parametrize("noise_std", [0.0, -0.1, float("nan")])
def test_entropy_without_noise_is_refused(noise_std):
    with pytest.raises(InputError, match="noise_std"):
        marginal_entropy(torch.ones(1, 4, 4), _variance((4, 4), 0), noise_std)


def test_variance_of_another_shape_is_refused():
    with pytest.raises(InputError, match="variance"):
        marginal_entropy(torch.ones(1, 4, 4), _variance((4, 5), 0), 0.1)
