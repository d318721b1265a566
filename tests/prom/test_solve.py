"""ProM finds a mask of the exact budget that is as good as the closed form it should reach."""

import pytest
import torch

from infomri_core.data import open_dataset
from infomri_core.patterns.spectrum import spectrum_mask
from infomri_core.physics.covariance import mean_energy
from infomri_core.physics.kspace import fft2c
from infomri_core.prom.options import ProMOptions
from infomri_core.prom.scoring import score_images
from infomri_core.prom.solve import combine, solve
from infomri_core.reconstruction.linear import zero_filled
from infomri_core.system.errors import InputError


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    dataset = open_dataset("phantom:?size=32&patients=12")
    return dataset.images(range(len(dataset)))


def error(images: torch.Tensor, mask: torch.Tensor) -> float:
    psnr = score_images(images, mask, lambda y, _: zero_filled(y))[:, 0]
    return float(psnr.mean())


def test_the_mode_is_no_worse_than_the_spectrum_mask_on_the_images_it_was_fitted_on(
    images: torch.Tensor,
) -> None:
    found = solve(images, ProMOptions(8, steps=400, batch_size=12))
    spectrum = spectrum_mask(mean_energy(images, torch.float64), found.budget, "both")
    assert int(found.mask.sum()) == 32 * 32 // 8 == found.budget
    assert error(images, found.mask) >= error(images, spectrum) - 0.3


def test_columns_are_whole_and_exactly_as_many_as_the_budget(images: torch.Tensor) -> None:
    found = solve(images, ProMOptions(5, "1d", steps=30, batch_size=4))
    assert bool((found.mask == found.mask[:1]).all())
    assert int(found.mask[0].sum()) == 32 // 5
    assert found.mask.shape == found.theta.shape == (32, 32)


def test_the_scale_of_the_loss_does_not_matter(images: torch.Tensor) -> None:
    options = ProMOptions(8, steps=25, batch_size=4)
    plain = solve(images, options, _loss(images, 1.0))
    tiny = solve(images, options, _loss(images, 1e-3))
    torch.testing.assert_close(plain.theta, tiny.theta, atol=1e-3, rtol=0)


def test_a_loss_of_ones_own_sees_images_as_they_were_given(images: torch.Tensor) -> None:
    seen = []

    def loss(rebuilt: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        seen.append((rebuilt.detach(), rows))
        return (rebuilt - images[rows]).square().mean()

    options = ProMOptions(1, steps=5, batch_size=3, learning_rate=1.0)
    solve(images, options, loss)
    rebuilt, rows = seen[-1]
    correlation = torch.corrcoef(torch.stack([rebuilt.flatten(), images[rows].flatten()]))[0, 1]
    assert float(correlation) > 0.9


def test_the_same_seed_gives_the_same_mask_and_runs_are_averaged(images: torch.Tensor) -> None:
    options = ProMOptions(8, steps=20, batch_size=4)
    first, again, other = (solve(images, options, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.theta, again.theta) and not torch.equal(first.theta, other.theta)
    both = combine([first, other])
    torch.testing.assert_close(both.theta, (first.theta + other.theta) / 2)
    assert int(both.mask.sum()) == first.budget


@pytest.mark.parametrize("acceleration", [0.5, float("nan"), 2000.0])
def test_an_acceleration_that_leaves_nothing_is_refused(
    images: torch.Tensor, acceleration: float
) -> None:
    with pytest.raises(InputError, match="acceleration"):
        solve(images, ProMOptions(acceleration, steps=1))


def test_full_kspace_is_scored_as_a_copy(images: torch.Tensor) -> None:
    everything = torch.ones(32, 32, dtype=torch.bool)
    assert error(images, everything) > 90
    assert bool((fft2c(images).abs() > 0).any())


def _loss(images: torch.Tensor, scale: float):
    def loss(rebuilt: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return scale * (rebuilt - images[rows]).square().mean()

    return loss
