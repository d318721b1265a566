"""Concrete masks have the probabilities as their mean and the gradient of the relaxation."""

import math

import torch

from infomri_core.prom.concrete import concrete_masks


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_mean_of_many_masks_is_the_probability() -> None:
    theta, n = torch.tensor([0.05, 0.3, 0.5, 0.95]), 40_000
    masks = concrete_masks(theta, n, 0.3, 0.01, generator())
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    spread = (theta * (1 - theta) / n).sqrt()
    assert bool(((masks.mean(0) - theta).abs() < 6 * spread).all())


def test_the_gradient_is_that_of_the_relaxation() -> None:
    temperature, edge = 0.4, 0.01
    theta = torch.tensor([0.2, 0.6, 0.99], dtype=torch.float64, requires_grad=True)
    masks = concrete_masks(theta, 1, temperature, edge, generator(3))
    (found,) = torch.autograd.grad(masks.sum(), theta)
    noise = torch.rand((1, 3), generator=generator(3)).double()[0]

    def relaxed(values: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid((values.logit() + noise.logit()) / temperature)

    step = 1e-6
    expected = (relaxed(theta.detach() + step) - relaxed(theta.detach() - step)) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


def test_a_position_at_zero_or_one_has_a_finite_gradient_that_moves_it() -> None:
    theta = torch.tensor([0.0, 1.0], requires_grad=True)
    masks = concrete_masks(theta, 64, 1.0, 0.03, generator())
    (found,) = torch.autograd.grad(masks.sum(), theta)
    assert bool(torch.isfinite(found).all()) and bool((found > 0).all())
    assert float(found.max()) <= 64 * 0.25 / (0.03 * 0.97) * (1 + 1e-6)
    assert math.isclose(float(masks.detach().sum()), float(masks.detach().round().sum()))
