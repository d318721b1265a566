"""Laws of the Fourier transform, of conjugate symmetry, and of the measurement."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.physics.kspace import fft2c, ifft2c, measure, reflect, zero_fill
from infomri_core.system.errors import InputError

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
batches = st.sampled_from([(), (3,), (2, 1, 3)])
seeds = st.integers(0, 2**31)
laws = settings(deadline=None, max_examples=40)


def _complex(size: tuple[int, ...], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, dtype=torch.complex128, generator=generator)


def _direct_dft(image: np.ndarray) -> np.ndarray:
    """The definition: a sum over positions, both domains counted from index n // 2."""
    factors = []
    for n in image.shape:
        index = np.arange(n) - n // 2
        factors.append(np.exp(-2j * np.pi * np.outer(index, index) / n) / np.sqrt(n))
    return factors[0] @ image @ factors[1].T


@laws
@given(shapes, seeds)
def test_the_transform_is_the_centred_orthonormal_dft(shape, seed):
    image = _complex(shape, seed)
    np.testing.assert_allclose(fft2c(image).numpy(), _direct_dft(image.numpy()), atol=1e-12)


@laws
@given(shapes, batches, seeds)
def test_the_transform_is_unitary(shape, batch, seed):
    image = _complex((*batch, *shape), seed)
    torch.testing.assert_close(ifft2c(fft2c(image)), image)
    torch.testing.assert_close(fft2c(ifft2c(image)), image)
    torch.testing.assert_close(fft2c(image).norm(), image.norm())


@laws
@given(shapes, seeds)
def test_the_inverse_is_the_adjoint(shape, seed):
    x, k = _complex(shape, seed), _complex(shape, seed + 1)
    left = torch.vdot(fft2c(x).flatten(), k.flatten())
    right = torch.vdot(x.flatten(), ifft2c(k).flatten())
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize(
    ("given_dtype", "expected"),
    [
        (torch.float32, torch.complex64),
        (torch.float64, torch.complex128),
        (torch.complex64, torch.complex64),
        (torch.complex128, torch.complex128),
    ],
)
def test_precision_is_kept(given_dtype, expected):
    k = fft2c(torch.ones(4, 5, dtype=given_dtype))
    y = measure(k, torch.ones(4, 5), 0.1, torch.Generator())
    assert k.dtype == y.dtype == zero_fill(y).dtype == expected


@laws
@given(shapes, batches, seeds)
def test_real_images_have_conjugate_symmetric_kspace(shape, batch, seed):
    k = fft2c(_complex((*batch, *shape), seed).real)
    torch.testing.assert_close(reflect(k).conj(), k)


@laws
@given(shapes)
def test_reflect_moves_every_position_to_minus_itself_modulo_the_shape(shape):
    H, W = shape
    values = torch.arange(H * W).view(shape)
    partner = reflect(values)
    for i in range(H):
        for j in range(W):
            mirrored = (H // 2 - (i - H // 2)) % H, (W // 2 - (j - W // 2)) % W
            assert partner[i, j] == values[mirrored]
    assert torch.equal(reflect(partner), values)


@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
@pytest.mark.parametrize("mask_batch", [(), (5,)])
@laws
@given(shape=shapes, seed=seeds)
def test_no_unsampled_value_is_measured(kind, mask_batch, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand((*mask_batch, *shape), generator=generator) < 0.5
    y = measure(_complex((5, *shape), seed), mask.to(kind), 0.3, generator)
    assert y.shape == (5, *shape)
    assert torch.equal(y != 0, mask.expand(y.shape))


def test_noise_has_the_stated_standard_deviation_in_each_part():
    n, s = 200_000, 0.3
    k = torch.full((n, 1, 1), 1 - 2j, dtype=torch.complex128)
    noise = measure(k, torch.ones(1, 1), s, torch.Generator().manual_seed(0)) - k
    covariance = torch.cov(torch.view_as_real(noise.flatten()).T)
    assert torch.allclose(covariance, s**2 * torch.eye(2, dtype=torch.float64), atol=0.03 * s**2)
    assert noise.mean().abs() < 6 * s / n**0.5


def test_noise_differs_between_masks_of_one_kspace():
    y = measure(_complex((4, 4), 0), torch.ones(2, 4, 4), 0.1, torch.Generator())
    assert not (y[0] == y[1]).any()


def test_the_same_seed_gives_the_same_measurement():
    k, mask = _complex((4, 5), 0), torch.ones(4, 5)
    first, second = (measure(k, mask, 0.1, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_the_slope_in_the_mask_is_what_sampling_a_point_would_add():
    k = _complex((3, 4), 0)
    mask = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    measure(k, mask, 0.0, torch.Generator()).real.sum().backward()
    torch.testing.assert_close(mask.grad, k.real)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(InputError, match=r"\(4, 4\).*\(5, 4\)"):
        measure(_complex((4, 4), 0), torch.ones(5, 4), 0.1, torch.Generator())


@pytest.mark.parametrize("noise_std", [-1.0, float("nan"), float("inf")])
def test_impossible_noise_is_refused(noise_std):
    with pytest.raises(InputError, match="noise_std"):
        measure(_complex((4, 4), 0), torch.ones(4, 4), noise_std, torch.Generator())


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (4, 5), (1, 1), (1, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_transforms_are_torch_s_own_with_its_shifts_to_the_bit(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    values, axes = torch.randn(3, *shape, dtype=dtype), (-2, -1)
    for ours, theirs in ((fft2c, torch.fft.fft2), (ifft2c, torch.fft.ifft2)):
        shifted = theirs(torch.fft.ifftshift(values, dim=axes), norm="ortho")
        assert torch.equal(ours(values), torch.fft.fftshift(shifted, dim=axes))


@pytest.mark.parametrize("transform", [fft2c, ifft2c])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_transforms_can_be_differentiated_twice(transform, dtype) -> None:
    values = torch.randn(3, 4, dtype=dtype, requires_grad=True)
    assert torch.autograd.gradcheck(transform, values)
    assert torch.autograd.gradgradcheck(transform, values)
