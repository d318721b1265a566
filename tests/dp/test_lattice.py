"""The lattice: one unit moves the rounded sum by the sensitivity at most."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.dp.lattice import Lattice
from infomri_core.randomness.secret_stream import SecretStream


def noised(lattice: Lattice, total: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return lattice.noised(total, SecretStream.public("lattice", seed))


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-6, 1e6),
    st.floats(1e-3, 1e6),
    st.integers(1, 400),
    st.floats(-1e3, 1e3),
    st.integers(0, 2**31),
)
def test_one_unit_moves_the_rounded_sum_by_the_sensitivity_at_most(
    clip: float, noise_multiplier: float, n: int, offset: float, seed: int
) -> None:
    lattice = Lattice(clip, noise_multiplier, n, 0.0)
    rng = np.random.default_rng(seed)
    others = torch.from_numpy(clip * (rng.normal(size=n) + offset))
    unit = rng.normal(size=n)
    unit = torch.from_numpy(clip * unit / np.linalg.norm(unit))
    change = noised(lattice, others + unit) - noised(lattice, others)
    assert float(change.norm()) <= lattice.sensitivity * (1 + 1e-9)
    assert lattice.sensitivity <= clip * (1 + 2.0**-10)


def test_sums_that_differ_below_the_step_give_the_same_bytes() -> None:
    lattice = Lattice(1.0, 1.0, 1000, 0.0)
    total = torch.round(torch.rand(1000).double() / lattice.step) * lattice.step
    near = total + lattice.step * (torch.rand(1000).double() - 0.5) * 0.99
    assert torch.equal(noised(lattice, total), noised(lattice, near))
    assert (noised(lattice, near) / lattice.step % 1 == 0).all()


@pytest.mark.parametrize("noise_multiplier", [0.3, 1.0, 1e6])
def test_the_noise_has_the_multiplier_of_the_sensitivity(noise_multiplier: float) -> None:
    lattice = Lattice(0.5, noise_multiplier, 100_000, 0.01)
    noise = noised(lattice, torch.zeros(100_000, dtype=torch.float64))
    assert float(noise.std()) == pytest.approx(lattice.noise_std, rel=0.01)
    assert lattice.noise_std > 0.505 * noise_multiplier
    assert float(noise.abs().max()) / lattice.step < 2**53


@pytest.mark.parametrize("s", [4, 8, 16])
def test_discrete_and_rounded_gaussian_differ_by_the_divergence_that_is_claimed(s: int) -> None:
    from scipy.stats import norm

    k = np.arange(-9 * s, 9 * s + 1)
    discrete = np.exp(-(k**2) / (2 * s**2))
    discrete /= discrete.sum()
    rounded = norm.sf((np.abs(k) - 0.5) / s) - norm.sf((np.abs(k) + 0.5) / s)
    divergence = float((discrete * np.log(discrete / rounded)).sum())
    assert divergence * 576 * s**4 == pytest.approx(1, rel=0.3)
