"""A suppression's slope is exactly that of its mean over independent draws."""

import itertools

import pytest
import torch

from infomri_core.physics.entropy import marginal_entropy
from infomri_core.physics.kspace import fft2c
from infomri_core.physics.statistics import KSpaceMoments
from infomri_core.suppression.base import Suppression
from infomri_core.suppression.base import of_masks as as_suppression
from infomri_core.suppression.gaussian import GaussianImages
from infomri_core.suppression.joint import AttackQuality, JointInformation
from infomri_core.suppression.marginal import MarginalEntropy
from infomri_core.suppression.registry import SUPPRESSIONS, build_suppression, of_masks
from infomri_core.system.errors import InputError

NOISE = 0.1
SHAPES = [(2, 4), (3, 3), (2, 3), (1, 7)]


def images(shape: tuple[int, int], n: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(shape[0] * 10 + shape[1])
    steps = torch.randn(n, *shape, dtype=torch.float64, generator=generator)
    return steps.cumsum(1).cumsum(2)


def suppressions(shape: tuple[int, int]) -> list[Suppression]:
    """Every registered kind that is a figure of masks, with factors of three directions."""
    made = images(shape)
    variance = KSpaceMoments.from_kspace(fft2c(made)).variance
    centred = (made - made.mean(0)).flatten(1) / len(made) ** 0.5
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    factors = 0.8 * (values[:3, None] * directions[:3]).view(-1, *shape)
    kinds = filter(of_masks, SUPPRESSIONS)
    return [as_suppression(build_suppression(k, variance, factors, NOISE)) for k in kinds]


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
        torch.testing.assert_close(
            masks.grad[:n], suppression.evaluate(masks.detach()[:n])[1]() / n
        )


def test_the_marginal_kind_is_the_marginal_entropy() -> None:
    variance = KSpaceMoments.from_kspace(fft2c(images((3, 4)))).variance
    masks = every_mask((3, 4))
    found = MarginalEntropy(variance, NOISE)(masks)
    torch.testing.assert_close(found, marginal_entropy(masks, variance, NOISE))


def covariance(images: GaussianImages) -> torch.Tensor:
    """Of the orthonormal coordinates of all pairs, dense."""
    rows = images._rows.flatten(0, 1)
    return rows @ rows.T + torch.diag(images._left.flatten())


def sampled(images: GaussianImages, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which coordinates a mask measures, and the noise's variance of each."""
    flat = mask.flatten()
    count = (flat + flat[images.partner] * ~images.own)[images._half]
    precision = (count * images._precision).repeat_interleave(2)
    return precision > 0, 1 / precision[precision > 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gaussian_kinds_are_what_a_dense_posterior_gives(shape: tuple[int, int]) -> None:
    kinds = suppressions(shape)
    joint = next(kind for kind in kinds if isinstance(kind, JointInformation))
    attack = next(kind for kind in kinds if isinstance(kind, AttackQuality))
    model = joint._images
    C, masks = covariance(model), every_mask(shape)[1::17]
    for mask, nats, decibel in zip(masks, joint(masks), attack(masks)):
        seen, noise = sampled(model, mask)
        inner = C[seen][:, seen] + torch.diag(noise)
        expected = (torch.linalg.slogdet(inner)[1] - noise.log().sum()) / 2
        torch.testing.assert_close(nats, expected)
        left = C - C[:, seen] @ torch.linalg.solve(inner, C[seen])
        torch.testing.assert_close(decibel, -10 * torch.log10(left.trace() / mask.numel()))


def test_single_precision_is_enough_for_real_images() -> None:
    """Signal 10^4 times the noise at the centre, as in MR images."""
    shape = (16, 15)
    made = images(shape)
    variance = KSpaceMoments.from_kspace(fft2c(made)).variance
    noise = float(variance.max() / 1e4) ** 0.5
    factors = (made - made.mean(0))[:6] / 3
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(2, *shape, generator=generator) < 0.2).double()
    for kind in ("joint", "attack"):
        exact = as_suppression(build_suppression(kind, variance, factors, noise)).evaluate(masks)
        single = as_suppression(build_suppression(kind, variance.float(), factors.float(), noise))
        value, slope = single.evaluate(masks.float())
        torch.testing.assert_close(value.double(), exact[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(slope().double(), exact[1](), rtol=1e-3, atol=1e-4)


def test_kinds_that_need_factors_are_refused_without() -> None:
    variance = torch.ones(2, 4, 4)
    assert build_suppression("none", variance, None, NOISE).name == "marginal"
    with pytest.raises(InputError, match="factors"):
        build_suppression("joint", variance, None, NOISE)
