"""Masks without training keep their count, their columns and their centre, or refuse."""

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from infomri_core.data import open_dataset
from infomri_core.patterns.budget import n_samples
from infomri_core.patterns.equispaced import equispaced_mask
from infomri_core.patterns.gaussian import gaussian_mask
from infomri_core.patterns.spectrum import KINDS, Kind, spectrum_mask
from infomri_core.physics.covariance import mean_energy
from infomri_core.physics.kspace import fft2c, reflect, zero_fill
from infomri_core.reconstruction.linear import hermitian_completion, hermitian_filled, zero_filled
from infomri_core.system.errors import InputError

SIZES = st.tuples(st.integers(2, 9), st.integers(2, 9))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(SIZES, st.data(), st.sampled_from(KINDS))
def test_spectrum_masks_have_exactly_the_points_asked_for(
    size: tuple[int, int], data: st.DataObject, kind: Kind
) -> None:
    n = data.draw(st.integers(1, size[0] * size[1]))
    energy = mean_energy(torch.rand(3, *size, generator=generator(n)))
    mask = spectrum_mask(energy, n, kind)
    assert mask.shape == size and int(mask.sum()) == n


@given(SIZES)
def test_one_sided_masks_hold_one_of_every_pair_before_both_of_any(size: tuple[int, int]) -> None:
    energy = mean_energy(torch.rand(3, *size, generator=generator()))
    places = torch.arange(energy.numel()).view(size)
    n_single = int((reflect(places) == places).sum())
    half = (energy.numel() + n_single) // 2
    mask = spectrum_mask(energy, half, "one-sided")
    assert bool((mask | reflect(mask)).all())


@given(SIZES, st.data())
def test_completion_fills_in_partners_of_a_real_images_kspace(
    size: tuple[int, int], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, size[0] * size[1]))
    image = torch.rand(*size, generator=generator()).double()
    mask = spectrum_mask(mean_energy(image[None], torch.float64), n, "one-sided")
    completed = hermitian_completion(fft2c(image) * mask, mask)
    torch.testing.assert_close(completed, fft2c(image) * (mask | reflect(mask)))
    if bool((mask | reflect(mask)).all()):
        torch.testing.assert_close(hermitian_filled(fft2c(image) * mask, mask), image)


def test_gain_masks_lose_least_of_the_real_part_of_the_zero_filled_image() -> None:
    """Against every mask of three points on a grid small enough to try them all."""
    images = torch.rand(5, 3, 3, generator=generator()).double()
    kspace, energy = fft2c(images), mean_energy(images, torch.float64)

    def loss(mask: torch.Tensor) -> float:
        return float((zero_fill(kspace * mask).real - images).square().sum())

    masks = []
    for points in combinations(range(9), 3):
        mask = torch.zeros(9, dtype=torch.bool)
        mask[list(points)] = True
        masks.append(mask.view(3, 3))
    best = min(loss(mask) for mask in masks)
    assert loss(spectrum_mask(energy, 3, "gain")) == pytest.approx(best, rel=1e-9)
    assert loss(spectrum_mask(energy, 3, "both")) >= best - 1e-12


def test_gain_is_above_energy_and_completion_above_both_on_phantoms() -> None:
    dataset = open_dataset("phantom:?size=32&patients=8")
    images = dataset.images(range(len(dataset)))
    kspace, energy = fft2c(images), mean_energy(images, torch.float64)

    def error(kind: Kind) -> float:
        mask = spectrum_mask(energy, 128, kind)
        fill = hermitian_filled if kind == "one-sided" else lambda y, _: zero_filled(y)
        return float((fill(kspace * mask, mask) - images).square().mean())

    assert error("one-sided") < error("gain") < error("both")


@given(st.integers(0, 1000), st.floats(1, 12))
def test_equispaced_columns_are_whole_and_hold_the_centre(seed: int, acceleration: float) -> None:
    mask = equispaced_mask((5, 256), acceleration, generator(seed))
    assert bool((mask == mask[:1]).all())
    assert bool(mask[0, 123:133].all())


def test_equispaced_columns_are_as_many_as_asked_for_on_average() -> None:
    counts = [int(equispaced_mask((1, 256), 8, generator(s)).sum()) for s in range(200)]
    assert sum(counts) / len(counts) == pytest.approx(32, abs=1)


@pytest.mark.parametrize("acceleration", [25.6, 32, 0.5])
def test_an_equispaced_mask_that_its_centre_makes_impossible_is_refused(
    acceleration: float,
) -> None:
    with pytest.raises(InputError, match="centre"):
        equispaced_mask((256, 256), acceleration)


@given(SIZES, st.data())
def test_gaussian_masks_have_exactly_the_points_asked_for(
    size: tuple[int, int], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, size[0] * size[1]))
    assert int(gaussian_mask(size, n, 2.0, generator(n)).sum()) == n


def test_gaussian_masks_with_a_centre_hold_it() -> None:
    mask = gaussian_mask((64, 64), 60, 20.0, generator(), centre_radius=3.5)
    rows, columns = (torch.arange(64) - 32 for _ in range(2))
    disc = rows[:, None] ** 2 + columns[None] ** 2 < 3.5**2
    assert bool(mask[disc].all()) and int(mask.sum()) == 60


def test_gaussian_points_lie_as_a_normal_density_says() -> None:
    places = [
        gaussian_mask((65, 65), 1, 8.0, generator(seed)).nonzero()[0] - 32 for seed in range(400)
    ]
    std = torch.stack(places).double().square().mean(0).sqrt()
    # Four standard errors of a standard deviation of 400 draws.
    assert bool(((std - 8).abs() < 4 * 8 / (2 * 400) ** 0.5).all())


@pytest.mark.parametrize(
    "make",
    [
        lambda: spectrum_mask(torch.ones(4, 4), 0),
        lambda: spectrum_mask(torch.ones(4, 4), 17),
        lambda: spectrum_mask(torch.ones(4, 4), 3, "neither"),  # type: ignore[arg-type]
        lambda: gaussian_mask((4, 4), 17, 1.0),
        lambda: gaussian_mask((4, 4), 3, 0.0),
        lambda: n_samples(16, 17.0),
        lambda: n_samples(16, 0.9),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        make()
