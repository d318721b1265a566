"""A suppression's slope is exactly that of its mean over independent draws."""

import itertools

import pytest
import torch

from infomri_core.physics.entropy import marginal_entropy
from infomri_core.physics.kspace import fft2c
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.suppression.base import Suppression
from infomri_core.suppression.marginal import MarginalEntropy

NOISE = 0.1
SHAPES = [(2, 4), (3, 3), (2, 5), (3, 4), (1, 7)]


def images(shape: tuple[int, int], n: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(shape[0] * 10 + shape[1])
    steps = torch.randn(n, *shape, dtype=torch.float64, generator=generator)
    return steps.cumsum(1).cumsum(2)


def suppressions(shape: tuple[int, int]) -> list[Suppression]:
    variance = KSpaceMoments.from_kspace(fft2c(images(shape))).variance
    return [MarginalEntropy(variance, NOISE)]


def every_mask(shape: tuple[int, int]) -> torch.Tensor:
    states = itertools.product((0.0, 1.0), repeat=shape[0] * shape[1])
    return torch.tensor(list(states), dtype=torch.float64).view(-1, *shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_slope_is_the_difference_that_sampling_a_point_makes(shape: tuple[int, int]) -> None:
    for suppression in suppressions(shape):
        masks = every_mask(shape)
        values, slope = suppression.evaluate(masks)
        found, n = slope().flatten(1), masks[0].numel()
        for i in range(n):
            with_i = torch.arange(len(masks)) | (1 << (n - 1 - i))
            without = with_i & ~(1 << (n - 1 - i))
            torch.testing.assert_close(found[:, i], values[with_i] - values[without])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mean_slope_is_the_slope_of_the_mean(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    mu = torch.rand(shape, dtype=torch.float64, generator=generator).requires_grad_()
    masks = every_mask(shape)
    chance = torch.where(masks > 0, mu, 1 - mu).flatten(1).prod(1)
    for suppression in suppressions(shape):
        values, slope = suppression.evaluate(masks)
        (expected,) = torch.autograd.grad((chance * values).sum(), mu, retain_graph=True)
        torch.testing.assert_close((chance.detach()[:, None, None] * slope()).sum(0), expected)


def test_the_policy_gets_the_mean_slope_of_the_masks_looked_at() -> None:
    for suppression in suppressions((3, 4)):
        masks = every_mask((3, 4))[1000:1008].requires_grad_()
        suppression.mean(masks).backward()
        n = suppression.most_masks or len(masks)
        assert masks.grad is not None and not masks.grad[n:].any()
        torch.testing.assert_close(masks.grad[:n], suppression.evaluate(masks[:n])[1]() / n)


def test_the_marginal_kind_is_the_marginal_entropy() -> None:
    variance = KSpaceMoments.from_kspace(fft2c(images((3, 4)))).variance
    masks = every_mask((3, 4))
    found = MarginalEntropy(variance, NOISE)(masks)
    torch.testing.assert_close(found, marginal_entropy(masks, variance, NOISE))
