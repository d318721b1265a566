"""Moments of k-space merge as if computed at once, and have the symmetry of real images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.physics.entropy import self_conjugate
from infomri_core.physics.kspace import fft2c, reflect
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.system.errors import InputError

shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))
seeds = st.integers(0, 2**31)
laws = settings(deadline=None, max_examples=40)


def _kspace(n: int, shape: tuple[int, int], seed: int, offset: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, *shape, dtype=torch.float64, generator=generator) + offset
    return fft2c(images)


def _assert_equal(left: KSpaceMoments, right: KSpaceMoments) -> None:
    assert left.count == right.count
    for a, b in ((left.mean, right.mean), (left.variance, right.variance)):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@laws
@given(shapes, seeds, st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_merging_equals_computing_at_once(shape, seed, sizes):
    k = _kspace(sum(sizes), shape, seed, offset=10.0)
    first, *others = (KSpaceMoments.from_kspace(part) for part in k.split(sizes))
    merged = first
    for other in others:
        merged = merged.merge(other)
    _assert_equal(merged, KSpaceMoments.from_kspace(k))


@laws
@given(shapes, seeds)
def test_merge_is_associative_and_commutative(shape, seed):
    a, b, c = (KSpaceMoments.from_kspace(_kspace(n, shape, seed + n)) for n in (1, 4, 7))
    _assert_equal(a.merge(b).merge(c), a.merge(b.merge(c)))
    _assert_equal(a.merge(b), b.merge(a))


@laws
@given(shapes, seeds)
def test_variance_is_that_of_numpy_for_real_images(shape, seed):
    k = _kspace(12, shape, seed, offset=3.0)
    expected = np.stack([k.real.numpy().var(0), k.imag.numpy().var(0)])
    got = KSpaceMoments.from_kspace(k).variance
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-10, atol=1e-10)


@laws
@given(shapes, seeds)
def test_variance_is_symmetric_even_when_the_kspace_is_not(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    k = torch.randn(5, *shape, dtype=torch.complex64, generator=generator)
    V = KSpaceMoments.from_kspace(k).variance
    assert torch.equal(V, reflect(V))
    assert not V[1][self_conjugate(shape)].any()
    assert V.dtype == torch.float64


def test_leading_dimensions_are_all_samples():
    k = _kspace(12, (4, 5), 0)
    _assert_equal(KSpaceMoments.from_kspace(k.view(3, 4, 4, 5)), KSpaceMoments.from_kspace(k))
    assert KSpaceMoments.from_kspace(k[0]).count == 1


@pytest.mark.parametrize(
    "kspace",
    [
        torch.zeros(2, 4, 4, dtype=torch.complex64),
        torch.full((2, 4, 4), complex("nan"), dtype=torch.complex64),
        torch.full((2, 4, 4), complex("inf"), dtype=torch.complex64),
        torch.ones(2, 4, 4),
        torch.ones(0, 4, 4, dtype=torch.complex64),
    ],
    ids=["zero", "nan", "infinite", "real", "empty"],
)
def test_kspace_that_cannot_be_right_is_refused(kspace):
    with pytest.raises(InputError, match="KSpaceMoments"):
        KSpaceMoments.from_kspace(kspace)


def test_moments_of_unequal_shapes_do_not_merge():
    a, b = (KSpaceMoments.from_kspace(_kspace(2, shape, 0)) for shape in ((4, 4), (4, 5)))
    with pytest.raises(InputError, match=r"\(4, 4\).*\(4, 5\)"):
        a.merge(b)
