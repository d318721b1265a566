"""Laws of the sampling policies: the budget, the shape of each density, what can be learned."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infomri_core.physics.kspace import fft2c
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.sampling import (
    PatternGenerator,
    SamplingPolicy,
    UniformPolicy,
    VariableDensityPolicy,
)
from infomri_core.sampling.options import Setting
from infomri_core.sampling.registry import options_from, sampler_class
from infomri_core.system.errors import InputError

constraints = st.sampled_from(["2d", "1d"])


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _variance(shape: tuple[int, int]) -> torch.Tensor:
    """k-space variance of smooth random images: energy falls with the square of frequency."""
    grids = torch.meshgrid(*(torch.arange(n) - n // 2 for n in shape), indexing="ij")
    falloff = 1 / (1 + sum(g.double() ** 2 for g in grids))
    noise = torch.randn(64, *shape, dtype=torch.float64, generator=_seeded(0))
    return KSpaceMoments.from_kspace(fft2c(noise) * falloff).variance


def _policies(shape: tuple[int, int], constraint: str) -> list[SamplingPolicy]:
    return [
        UniformPolicy(shape, constraint),
        VariableDensityPolicy(shape, constraint, exponent=1.0),
        VariableDensityPolicy(shape, constraint, exponent=20.0),
        PatternGenerator(shape, constraint, generator=_seeded(0)),
        PatternGenerator(shape, constraint).start_spectral(_variance(shape)),
    ]


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.integers(2, 12), st.integers(2, 12)), constraints, st.floats(0.005, 1))
def test_every_policy_spends_exactly_the_ratio(shape, constraint, ratio):
    for policy in _policies(shape, constraint):
        mu = policy(ratio)
        assert mu.shape == shape
        assert ((mu >= 0) & (mu <= 1)).all()
        assert mu.double().mean().item() == pytest.approx(ratio, rel=1e-6)
        if constraint == "1d":
            assert torch.equal(mu, mu[:1].expand(shape))


def test_fixed_policies_have_nothing_to_learn_or_to_send():
    for policy in (UniformPolicy((4, 5)), VariableDensityPolicy((4, 5))):
        assert not list(policy.parameters())
        assert not policy.state_dict()


@pytest.mark.parametrize("exponent", [1.0, 4.0, 12.0])
@pytest.mark.parametrize("shape", [(16, 16), (15, 20)])
def test_variable_density_is_proportional_to_the_polynomial_where_it_is_not_capped(
    shape, exponent
):
    mu = VariableDensityPolicy(shape, exponent=exponent)(1 / 8).double()
    rows = (torch.arange(shape[0]).double() - shape[0] // 2) / (shape[0] // 2)
    columns = (torch.arange(shape[1]).double() - shape[1] // 2) / (shape[1] // 2)
    distance = torch.hypot(rows[:, None], columns) / math.sqrt(2)
    weights = (1 - distance).clamp(min=1e-3) ** exponent
    free = mu < 1 - 1e-6
    constant = mu[free].max() / weights[free].max()
    expected = (constant * weights).clamp(max=1)
    torch.testing.assert_close(mu, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("constraint", ["2d", "1d"])
@pytest.mark.parametrize("acceleration", [8, 16, 32, 48])
def test_spectral_start_follows_the_energy_and_is_neither_flat_nor_saturated(
    constraint, acceleration
):
    shape = (64, 64)
    energy = _variance(shape).sum(0)
    policy = PatternGenerator(shape, constraint).start_spectral(_variance(shape))
    mu = policy(1 / acceleration)
    if constraint == "1d":
        energy, mu = energy.sum(0), mu[0]
    sorted_mu = mu.flatten()[energy.flatten().argsort()]
    assert (sorted_mu.diff() >= -1e-6).all()
    assert mu.max() > min(0.8, 8 * mu.mean())
    assert (mu > 0.97).sum() <= 0.1 * mu.sum()
    assert mu.min() > 1e-4


@pytest.mark.parametrize("constraint", ["2d", "1d"])
@pytest.mark.parametrize("start", ["random", "spectral"])
def test_the_generator_learns_where_samples_pay(constraint, start):
    shape, ratio = (12, 16), 1 / 8
    setting = Setting(shape, constraint, start=start)
    options = options_from("infomri", {}, "arm")
    policy = options.build(setting, _variance(shape), _seeded(0)).policy
    wanted = torch.zeros(shape)
    wanted[:, 1:3] = 1.0
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    for _ in range(250):
        optimizer.zero_grad()
        loss = -(policy(ratio) * wanted).sum()
        loss.backward()
        optimizer.step()
    assert (policy(ratio) * wanted).sum() > 0.9 * ratio * wanted.numel()


def test_every_parameter_of_a_random_start_receives_a_slope():
    policy = PatternGenerator((8, 8), generator=_seeded(0))
    policy(0.1).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in policy.parameters())


def test_the_pattern_depends_on_the_ratio_beyond_its_mean():
    policy = PatternGenerator((16, 16)).start_spectral(_variance((16, 16)))
    low, high = policy(1 / 48) * 48, policy(1 / 8) * 8
    assert (low - high).abs().max() > 0.1


def test_a_policy_is_made_from_its_seed_alone():
    one, same = (PatternGenerator((6, 6), generator=_seeded(2))(0.2) for _ in range(2))
    assert torch.equal(one, same)


def test_samplers_are_made_by_name():
    V = _variance((8, 8))
    built = {
        name: options_from(name, {}, "arm").build(Setting((8, 8)), V).policy
        for name in ("uniform", "variable-density", "infomri")
    }
    assert isinstance(built["uniform"], UniformPolicy)
    assert isinstance(built["variable-density"], VariableDensityPolicy)
    assert isinstance(built["infomri"], PatternGenerator)
    expected = PatternGenerator((8, 8)).start_spectral(V)(0.1)
    assert torch.equal(built["infomri"](0.1), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sampler_class("infomro"), "did you mean 'infomri'"),
        (lambda: options_from("uniform", {"std": 2.0}, "arm"), "only known keys"),
        (lambda: PatternGenerator((8, 8), "3d"), "2d or 1d"),
        (lambda: UniformPolicy((8, 8))(0.0), "ratio"),
        (lambda: VariableDensityPolicy((8, 8), exponent=-1.0), "exponent"),
        (lambda: PatternGenerator((8, 8)).start_spectral(torch.zeros(2, 8, 8)), "all zero"),
        (lambda: PatternGenerator((8, 8)).start_spectral(torch.ones(2, 8, 9)), r"\(2, 8, 8\)"),
    ],
)
def test_what_cannot_be_built_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
